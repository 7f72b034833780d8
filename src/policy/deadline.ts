import { ProxyError } from "../errors/proxy-error.js";
import type { RequestContext } from "../stack/request-context.js";
import { endedCall, type Call, type Layer, type Reply } from "../stack/service.js";
import type { Counter } from "../telemetry/cells.js";
import { formatDuration } from "../time/duration.js";
import type { TimerWheel } from "../time/timer-wheel.js";
import { formatGrpcTimeout, parseGrpcTimeout } from "../traffic/grpc-timeout.js";
import { getHeader, removeHeader, setHeader } from "../traffic/headers.js";
import { attemptField, formatTimeLeft, timeLeftField } from "../traffic/hop-fields.js";
import { TimedCall, type TimeLimit } from "./timed-call.js";

const grpcField = "grpc-timeout";

export interface DeadlineOptions {
  readonly wheel: TimerWheel;
  /**
   * How much later than its deadline a request is cut, milliseconds. On the called side above 0: the calling sidecar's own timer
   * comes first then, and its answer names the document that set the time.
   */
  readonly graceMs: number;
  /** Requests whose time was over when they came. */
  readonly expired: Counter;
}

/** Enough for one way between two machines and a busy event loop at the caller's. */
export const calledSideGraceMs = 100;

/**
 * Ends a request when the time that its caller gives it has passed, and refuses one whose time is over already: whoever it was
 * sent for has given up. The time was told to this sidecar (`request.callerTimeoutMs`), or stands in a gRPC call's own field.
 * There, a value that cannot be read is refused, as grpc-go and grpc-js servers do: it can be neither kept nor lowered, and the
 * upstream might read it in another way.
 */
export function deadline({ wheel, graceMs, expired }: DeadlineOptions): Layer {
  return (inner) => ({
    call(request: RequestContext, reply: Reply): Call {
      let timeoutMs = request.callerTimeoutMs;
      let timer = "deadline";
      const text = request.isGrpc ? getHeader(request.head.headers, grpcField) : undefined;
      if (text !== undefined) {
        const grpcMs = parseGrpcTimeout(text);
        if (grpcMs === undefined) return refuse(reply, malformed());
        if (grpcMs <= timeoutMs) {
          timeoutMs = grpcMs;
          timer = grpcField;
        }
      }
      if (timeoutMs === Infinity) return inner.call(request, reply);
      const limit = new CallerLimit(timer, timeoutMs);
      if (timeoutMs <= nothingMs) {
        expired.value++;
        return refuse(reply, limit.error());
      }
      request.deadlineMs = Math.min(request.deadlineMs, request.startMs + timeoutMs);
      return new TimedCall(limit, timeoutMs + graceMs, wheel, reply).start(inner, request);
    },
  });
}

/** What formatGrpcTimeout writes for a time that has run out: 1n. */
const nothingMs = 1e-6;

/**
 * Tells whom an attempt is sent to how much time is left, the least of what the caller gave, the route's timeout and the
 * attempt's, and which attempt it is. Only sidecars and the own application are told (`isTold`); a gRPC call's own field goes to
 * everybody. Without anything to tell the head stays as it is.
 */
export function tellUpstream(request: RequestContext, isTold: boolean, nowMs: number): void {
  const leftMs = Math.min(request.deadlineMs - nowMs, request.attemptTimeoutMs);
  const { attempt, isGrpc } = request;
  if (leftMs === Infinity && attempt === 1) return;
  const { headers } = request.head;
  if (isGrpc && leftMs !== Infinity) setHeader(headers, grpcField, formatGrpcTimeout(leftMs), grpcField);
  if (!isTold) {
    // An attempt at another endpoint may have been told.
    removeHeader(headers, timeLeftField);
    removeHeader(headers, attemptField);
    return;
  }
  if (!isGrpc && leftMs !== Infinity)
    setHeader(headers, timeLeftField, formatTimeLeft(leftMs), timeLeftField);
  if (attempt > 1) setHeader(headers, attemptField, `${attempt}`);
}

class CallerLimit implements TimeLimit {
  readonly #timer: string;
  readonly #timeoutMs: number;

  constructor(timer: string, timeoutMs: number) {
    this.#timer = timer;
    this.#timeoutMs = timeoutMs;
  }

  error(): ProxyError {
    const ms = this.#timeoutMs;
    // What the application forwards is remembered to the microsecond; a field of its own is told as it was.
    const value = formatDuration(this.#timer === grpcField ? ms : Math.max(0, Math.floor(ms)));
    return new ProxyError("route_timeout", `timer=${this.#timer}, value=${value}, source=caller`);
  }
}

function malformed(): ProxyError {
  return new ProxyError("malformed_request", `${grpcField} is not 1 to 8 digits and one of H, M, S, m, u, n`);
}

function refuse(reply: Reply, error: ProxyError): Call {
  reply.end(error);
  return endedCall;
}
