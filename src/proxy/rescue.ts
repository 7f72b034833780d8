import { ProxyError } from "../errors/proxy-error.js";
import type { RequestContext } from "../stack/request-context.js";
import { endedCall, type Call, type Layer, type Reply } from "../stack/service.js";
import { BufferedBody, type BodySource } from "../traffic/body.js";
import type { ResponseHead } from "../traffic/message.js";
import { errorReply } from "./local-reply.js";

/** The one place where errors become responses; nothing above it throws. */
export const rescue: Layer = (inner) => ({
  call(request: RequestContext, reply: Reply): Call {
    const rescued = new RescuedReply(request, reply);
    try {
      return inner.call(request, rescued);
    } catch (cause) {
      // A mistake of ours crashes this request, never the process.
      rescued.end(new ProxyError("internal", "unexpected failure, see the sidecar's log", { cause }));
      return endedCall;
    }
  },
});

class RescuedReply implements Reply {
  readonly #request: RequestContext;
  readonly #reply: Reply;
  #isStarted = false;
  #isEnded = false;

  constructor(request: RequestContext, reply: Reply) {
    this.#request = request;
    this.#reply = reply;
  }

  informational(head: ResponseHead): void {
    if (!this.#isEnded) this.#reply.informational(head);
  }

  head(head: ResponseHead, body: BodySource | null): void {
    // What threw may have left something running: its answer comes too late.
    if (this.#isEnded) return;
    this.#isStarted = true;
    this.#reply.head(head, body);
  }

  end(error: ProxyError | null): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    if (error !== null) this.#request.error = error;
    // Raw TCP has no words for it: the client's connection is reset.
    const isMute = this.#isStarted || this.#request.head.upgrade === "tcp";
    const local = error === null || isMute ? null : errorReply(error, this.#request.head);
    if (local === null) return this.#reply.end(error);
    // Without a body the head is the whole message: over HTTP/2 what gRPC calls trailers-only.
    this.#reply.head(local.head, local.body.length === 0 ? null : new BufferedBody(local.body));
    this.#reply.end(null);
  }
}
