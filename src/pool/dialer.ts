import net, { type Socket } from "node:net";
import tls, { type TLSSocket } from "node:tls";
import { ProxyError } from "../errors/proxy-error.js";
import type { TimerWheel } from "../time/timer-wheel.js";

/** Opens connections to one address. Exactly one of the callbacks runs, later than the call, unless it is cancelled. */
export interface Dialer {
  dial(onConnected: (socket: Socket) => void, onFailed: (error: ProxyError) => void): { cancel(): void };
}

export interface DialTarget {
  /** IP literal. */
  readonly address: string;
  readonly port: number;
  /** Covers TCP and TLS handshake together, milliseconds. */
  readonly connectTimeoutMs: number;
}

export interface DialSecurity {
  /** TLS options with our certificate and the trust bundle, as of now; undefined while there is no certificate. */
  readonly options: () => tls.ConnectionOptions | undefined;
  /** Is the peer who we meant to reach? undefined: yes; else the reason. Runs on every connection. */
  readonly refusal: (socket: TLSSocket) => string | undefined;
}

/** TCP without TLS: the local application, and endpoints without a sidecar where policy permits it. */
export function plainDialer(target: DialTarget, wheel: TimerWheel): Dialer {
  return {
    dial(onConnected, onFailed) {
      const socket = net.connect({ host: target.address, port: target.port, noDelay: true });
      return watch(socket, "connect", target, wheel, () => undefined, onConnected, onFailed);
    },
  };
}

/** mTLS to a sidecar, whose identity is verified before the first byte is sent. */
export function meshDialer(target: DialTarget, wheel: TimerWheel, security: DialSecurity): Dialer {
  return {
    dial(onConnected, onFailed) {
      const options = security.options();
      if (options === undefined) {
        queueMicrotask(() =>
          onFailed(new ProxyError("upstream_tls_failed", "this sidecar has no certificate yet")),
        );
        return { cancel() {} };
      }
      const socket = tls.connect({ ...options, host: target.address, port: target.port });
      socket.setNoDelay(true);
      return watch(
        socket,
        "secureConnect",
        target,
        wheel,
        () => security.refusal(socket),
        onConnected,
        onFailed,
      );
    },
  };
}

function watch(
  socket: Socket,
  ready: "connect" | "secureConnect",
  target: DialTarget,
  wheel: TimerWheel,
  refusal: () => string | undefined,
  onConnected: (socket: Socket) => void,
  onFailed: (error: ProxyError) => void,
): { cancel(): void } {
  const peer = `${target.address}:${target.port}`;
  let isSettled = false;
  const settle = (): boolean => {
    if (isSettled) return false;
    isSettled = true;
    timer.cancel();
    return true;
  };
  const fail = (error: ProxyError): void => {
    if (!settle()) return;
    socket.destroy();
    onFailed(error);
  };
  const timer = wheel.add(target.connectTimeoutMs, {
    onTimer: () =>
      fail(new ProxyError("connect_timeout", `${peer}: no connection within ${target.connectTimeoutMs} ms`)),
  });
  const onError = (cause: NodeJS.ErrnoException): void => {
    const isTls = ready === "secureConnect" && cause.syscall !== "connect";
    const code = isTls ? "upstream_tls_failed" : "connect_failed";
    fail(new ProxyError(code, `${peer}: ${cause.code ?? cause.message}`, { cause }));
  };
  const onClose = (): void => fail(new ProxyError("connect_failed", `${peer}: closed during the handshake`));
  socket.on("error", onError);
  socket.on("close", onClose);
  socket.once(ready, () => {
    if (isSettled) return;
    const reason = refusal();
    if (reason !== undefined) return fail(new ProxyError("upstream_identity_mismatch", `${peer}: ${reason}`));
    settle();
    onConnected(socket);
    socket.off("error", onError);
    socket.off("close", onClose);
  });
  return {
    cancel() {
      if (settle()) socket.destroy();
    },
  };
}
