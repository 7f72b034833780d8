import net from "node:net";
import type { Clock, Timer } from "../time/clock.js";

export interface AppProbeOptions {
  readonly address: string;
  readonly port: number;
  readonly intervalMs: number;
  readonly timeoutMs: number;
  /** Failures in a row before the application counts as down: one lost connection is no outage. */
  readonly failures: number;
  readonly clock: Clock;
  readonly onChange: (isUp: boolean) => void;
}

/** Looks regularly whether the application accepts connections, for registries without checks of their own. */
export function startAppProbe(options: AppProbeOptions): { close(): void } {
  const { intervalMs, failures, clock, onChange } = options;
  let timer: Timer | undefined;
  let isClosed = false;
  let isUp = true;
  let failed = 0;
  const look = async (): Promise<void> => {
    const accepts = await acceptsConnections(options);
    if (isClosed) return;
    failed = accepts ? 0 : failed + 1;
    const next = accepts || (isUp && failed < failures);
    if (next !== isUp) onChange((isUp = next));
    timer = clock.timer(intervalMs, () => void look());
  };
  timer = clock.timer(intervalMs, () => void look());
  return {
    close() {
      isClosed = true;
      timer?.cancel();
    },
  };
}

export type ProbeTarget = Pick<AppProbeOptions, "address" | "port" | "timeoutMs" | "clock">;

/** Does a TCP connection come about within the timeout? Never rejects. */
export function acceptsConnections({ address, port, timeoutMs, clock }: ProbeTarget): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = net.connect({ host: address, port });
    const settle = (accepts: boolean): void => {
      timer.cancel();
      socket.destroy();
      resolve(accepts);
    };
    const timer = clock.timer(timeoutMs, () => settle(false));
    socket.once("connect", () => settle(true));
    socket.once("error", () => settle(false));
  });
}
