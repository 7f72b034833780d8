import { ProxyError } from "../errors/proxy-error.js";
import type { RequestContext } from "../stack/request-context.js";
import type { Call, Layer, Reply } from "../stack/service.js";
import type { Clock } from "../time/clock.js";
import type { BodySource } from "../traffic/body.js";
import { WatchedGrpcBody, type GrpcResponseListener } from "../traffic/grpc-response.js";
import { grpcStatusOf, isGrpc } from "../traffic/grpc.js";
import { getHeader } from "../traffic/headers.js";
import type { ResponseHead } from "../traffic/message.js";
import { tellUpstream } from "./deadline.js";

/**
 * In front of an upstream that has no endpoint layer: tells it of deadline and attempt, and notes how gRPC calls end for metrics
 * and the access log.
 */
export function grpcUpstream(clock: Clock): Layer {
  return (inner) => ({
    call(request: RequestContext, reply: Reply): Call {
      tellUpstream(request, true, clock.monotonicMs());
      if (!request.isGrpc) return inner.call(request, reply);
      request.grpcStatus = -1;
      const watched = new GrpcReply(request, reply);
      return (watched.call = inner.call(request, watched));
    },
  });
}

class GrpcReply implements Reply, GrpcResponseListener {
  /** null until the upstream has returned it. */
  call: Call | null = null;
  readonly #request: RequestContext;
  readonly #reply: Reply;

  constructor(request: RequestContext, reply: Reply) {
    this.#request = request;
    this.#reply = reply;
  }

  informational(head: ResponseHead): void {
    this.#reply.informational(head);
  }

  head(head: ResponseHead, body: BodySource | null): void {
    // Callers would make UNKNOWN of it and say nothing of the cause.
    if (this.call !== null && isOrdinaryPage(head)) return this.call.cancel(notGrpc(head));
    this.#request.grpcStatus = grpcStatusOf(head.headers) ?? -1;
    const isOpen = body !== null && this.#request.grpcStatus < 0;
    this.#reply.head(head, isOpen ? new WatchedGrpcBody(body, this) : body);
  }

  grpcMessage(): void {}

  grpcTrailers(trailers: readonly string[] | null): void {
    if (trailers !== null) this.#request.grpcStatus = grpcStatusOf(trailers) ?? -1;
  }

  end(error: ProxyError | null): void {
    this.#reply.end(error);
  }
}

/** An application of HTTP/1.1 that took the call for an ordinary POST. Other statuses tell callers enough. */
function isOrdinaryPage({ version, status, headers }: ResponseHead): boolean {
  return version !== "2" && status === 200 && !isGrpc(headers);
}

function notGrpc({ headers }: ResponseHead): ProxyError {
  const type = getHeader(headers, "content-type") ?? "none";
  const text = `the application answered a gRPC call over HTTP/1.1 (content-type ${type}); if it speaks gRPC, start it with --protocol grpc`;
  return new ProxyError("upstream_protocol_error", text);
}
