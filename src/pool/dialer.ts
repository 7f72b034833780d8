import { Socket } from "node:net";
import tls, { type TLSSocket } from "node:tls";
import { refusalTexts } from "../../certs/certificate-error.js";
import type { ErrorCode } from "../errors/error-table.js";
import { ProxyError } from "../errors/proxy-error.js";
import { handshakeRefusal } from "../identity/verify-peer.js";
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
  /** Why nobody may connect there; absent: everybody may. */
  readonly forbidden?: string | undefined;
}

export interface DialSecurity {
  /** TLS options with our certificate and the trust bundle, as of now; undefined while there is no certificate. */
  readonly options: () => tls.ConnectionOptions | undefined;
  /** Is the peer who we meant to reach? undefined: yes; else the reason. Runs on every connection. */
  readonly refusal: (socket: TLSSocket) => string | undefined;
}

/** TCP without TLS: the local application, and endpoints without a sidecar where policy permits it. */
export function plainDialer(target: DialTarget, wheel: TimerWheel): Dialer {
  const { address: host, port } = target;
  const how: Way<Socket> = {
    ready: "connect",
    open: () => new Socket().setNoDelay(true).connect({ host, port }),
    refusal: () => undefined,
  };
  return { dial: (onConnected, onFailed) => dial(how, target, wheel, onConnected, onFailed) };
}

/** mTLS to a sidecar, whose identity is verified before the first byte is sent. */
export function meshDialer(target: DialTarget, wheel: TimerWheel, security: DialSecurity): Dialer {
  const { address: host, port } = target;
  const how: Way<TLSSocket> = {
    ready: "secureConnect",
    open: () => {
      const options = security.options();
      if (options === undefined) throw new Error("this sidecar has no certificate yet");
      // A socket of our own below TLS: only so can the connection be reset (traffic/broken-socket.ts).
      return tls.connect({ ...options, socket: new Socket().connect({ host, port, noDelay: true }) });
    },
    refusal: security.refusal,
  };
  return { dial: (onConnected, onFailed) => dial(how, target, wheel, onConnected, onFailed) };
}

interface Way<S extends Socket> {
  /** The event after which bytes can be sent. */
  readonly ready: "connect" | "secureConnect";
  /** May throw, for example over a port that is none: a registry said so. */
  readonly open: () => S;
  readonly refusal: (socket: S) => string | undefined;
}

function dial<S extends Socket>(
  { ready, open, refusal }: Way<S>,
  target: DialTarget,
  wheel: TimerWheel,
  onConnected: (socket: Socket) => void,
  onFailed: (error: ProxyError) => void,
): { cancel(): void } {
  const peer = `${target.address}:${target.port}`;
  let isSettled = false;
  let socket: S | null = null;
  const settle = (): boolean => {
    if (isSettled) return false;
    isSettled = true;
    timer.cancel();
    return true;
  };
  const fail = (code: ErrorCode, detail: string, cause?: unknown): void => {
    if (!settle()) return;
    socket?.destroy();
    onFailed(new ProxyError(code, `${peer}: ${detail}`, { cause }));
  };
  const timer = wheel.add(target.connectTimeoutMs, {
    onTimer: () => fail("connect_timeout", `no connection within ${target.connectTimeoutMs} ms`),
  });
  const onError = (cause: NodeJS.ErrnoException): void => {
    const isTls = ready === "secureConnect" && cause.syscall !== "connect";
    const reason = isTls ? handshakeRefusal(cause) : undefined;
    const what = cause.code ?? cause.message;
    const detail = reason === undefined ? what : `${what}, ${refusalTexts[reason]}`;
    fail(isTls ? "upstream_tls_failed" : "connect_failed", detail, cause);
  };
  const onClose = (): void => fail("connect_failed", "closed during the handshake");
  const onReady = (): void => {
    if (isSettled || socket === null) return;
    let reason: string | undefined;
    try {
      reason = refusal(socket);
    } catch (cause) {
      return fail("upstream_identity_mismatch", "the certificate cannot be checked", cause);
    }
    if (reason !== undefined) return fail("upstream_identity_mismatch", reason);
    settle();
    onConnected(socket);
    socket.off("error", onError);
    socket.off("close", onClose);
  };
  const { forbidden } = target;
  try {
    if (forbidden === undefined) {
      socket = open();
      socket.on("error", onError).on("close", onClose).once(ready, onReady);
    } else queueMicrotask(() => fail("connect_failed", forbidden));
  } catch (cause) {
    queueMicrotask(() => onError(cause as Error));
  }
  return {
    cancel() {
      if (settle()) socket?.destroy();
    },
  };
}
