import type { Socket } from "node:net";
import type { TLSSocket } from "node:tls";
import { ProxyError } from "../errors/proxy-error.js";
import type { TimerWheel } from "../time/timer-wheel.js";
import { resetSocket } from "../traffic/broken-socket.js";
import type { TunnelDialer } from "./tcp-transport.js";

/**
 * ALPN name of raw TCP between two sidecars. The called one sends `opened` as its first byte when its connection to the
 * application stands. Without it the caller could not tell an application that is down from one that hangs up: the
 * handshake has succeeded either way, and neither another endpoint would be tried nor this one ejected.
 */
export const confirmedTcp = "remora-tcp";
export const opened: Buffer = Buffer.of(1);

/** Does the peer expect `opened`, or send it? A peer that is no sidecar of ours has agreed on nothing. */
export function isConfirmed(socket: Socket): boolean {
  return (socket as Partial<TLSSocket>).alpnProtocol === confirmedTcp;
}

/**
 * Connections to sidecars, handed over when the application behind has accepted. `dialer` offers `confirmedTcp`.
 * @param timeoutMs for the confirmation alone.
 */
export function confirmedDialer(
  dialer: TunnelDialer,
  {
    name,
    timeoutMs,
    wheel,
  }: { readonly name: string; readonly timeoutMs: number; readonly wheel: TimerWheel },
): TunnelDialer {
  return {
    dial(onConnected, onFailed) {
      let current = dialer.dial((socket) => {
        if (!isConfirmed(socket)) return onConnected(socket);
        current = awaitOpened(socket, onConnected, onFailed);
      }, onFailed);
      return { cancel: () => current.cancel() };
    },
  };

  function awaitOpened(
    socket: Socket,
    onConnected: (socket: Socket) => void,
    onFailed: (error: ProxyError) => void,
  ): { cancel(): void } {
    const settle = (): void => {
      timer.cancel();
      socket.off("readable", onReadable).off("close", onClose);
    };
    const fail = (error: ProxyError): void => {
      settle();
      resetSocket(socket);
      onFailed(error);
    };
    const refused = (what: string): ProxyError =>
      new ProxyError("connect_failed", `${name}: the application behind its sidecar ${what}`);
    const onClose = (): void => fail(refused("does not accept connections"));
    const onReadable = (): void => {
      const first = socket.read(1) as Buffer | null;
      // The end is readable, too; the close follows.
      if (first === null) return void socket.destroy();
      if (!first.equals(opened)) return fail(refused("was announced by an unknown byte"));
      settle();
      onConnected(socket);
      socket.off("error", onError);
    };
    // A close follows it.
    const onError = (): void => {};
    const timer = wheel.add(timeoutMs, {
      onTimer: () =>
        fail(new ProxyError("connect_timeout", `${name}: no word of the application within ${timeoutMs} ms`)),
    });
    socket.on("error", onError).on("close", onClose).on("readable", onReadable);
    return {
      cancel() {
        settle();
        resetSocket(socket);
      },
    };
  }
}
