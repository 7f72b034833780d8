import { ProxyError } from "../errors/proxy-error.js";
import type { RequestContext } from "../stack/request-context.js";
import { endedCall, type Call, type Layer, type Reply } from "../stack/service.js";
import { formatDuration } from "../time/duration.js";
import type { TimerWheel } from "../time/timer-wheel.js";
import { formatGrpcTimeout, parseGrpcTimeout } from "../traffic/grpc-timeout.js";
import { getHeader, setHeader } from "../traffic/headers.js";
import { TimedCall, type TimeLimit } from "./timed-call.js";

const field = "grpc-timeout";

/**
 * Ends a gRPC call when the time that its caller gives it has passed. A value that cannot be read is refused, as grpc-go and
 * grpc-js servers do: it can be neither kept nor lowered, and the upstream might read it in another way.
 */
export function grpcDeadline(wheel: TimerWheel): Layer {
  return (inner) => ({
    call(request: RequestContext, reply: Reply): Call {
      if (!request.isGrpc) return inner.call(request, reply);
      const text = getHeader(request.head.headers, field);
      if (text === undefined) return inner.call(request, reply);
      const timeoutMs = parseGrpcTimeout(text);
      if (timeoutMs === undefined) return refuse(reply, malformed());
      const limit = new CallerLimit(timeoutMs);
      // Whoever it was sent for has given up by now.
      if (timeoutMs === 0) return refuse(reply, limit.error());
      request.deadlineMs = Math.min(request.deadlineMs, request.startMs + timeoutMs);
      return new TimedCall(limit, timeoutMs, wheel, reply).start(inner, request);
    },
  });
}

/**
 * Tells the upstream of a gRPC attempt how much time is left: the least of what the caller gave, the route's timeout and the
 * attempt's. Without any of them the head stays as it is.
 */
export function forwardGrpcDeadline(request: RequestContext, nowMs: number): void {
  const leftMs = Math.min(request.deadlineMs - nowMs, request.attemptTimeoutMs);
  if (leftMs !== Infinity) setHeader(request.head.headers, field, formatGrpcTimeout(leftMs));
}

class CallerLimit implements TimeLimit {
  readonly #timeoutMs: number;

  constructor(timeoutMs: number) {
    this.#timeoutMs = timeoutMs;
  }

  error(): ProxyError {
    const value = formatDuration(this.#timeoutMs);
    return new ProxyError("route_timeout", `timer=${field}, value=${value}, source=caller`);
  }
}

function malformed(): ProxyError {
  return new ProxyError("malformed_request", `${field} is not 1 to 8 digits and one of H, M, S, m, u, n`);
}

function refuse(reply: Reply, error: ProxyError): Call {
  reply.end(error);
  return endedCall;
}
