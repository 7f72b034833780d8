import type { ProxyError } from "../errors/proxy-error.js";
import type { RequestContext } from "../stack/request-context.js";
import type { Call, Reply } from "../stack/service.js";

/** A request that waits for a connection, then the call on it. */
export class PendingCall implements Call {
  readonly request: RequestContext;
  readonly #reply: Reply;
  #waiting: Set<PendingCall>;
  #call: Call | null = null;

  /** Waits in `waiting`, oldest first. */
  constructor(waiting: Set<PendingCall>, request: RequestContext, reply: Reply) {
    this.request = request;
    this.#reply = reply;
    this.#waiting = waiting;
    waiting.add(this);
  }

  /** Waits in another queue from now on. */
  moveTo(waiting: Set<PendingCall>): void {
    this.#waiting.delete(this);
    this.#waiting = waiting;
    waiting.add(this);
  }

  /** Leaves the queue. */
  start(connection: { send(request: RequestContext, reply: Reply): Call }): void {
    this.#waiting.delete(this);
    this.#call = connection.send(this.request, this.#reply);
  }

  /** Leaves the queue; no effect on a call that has a connection. */
  refuse(error: ProxyError): void {
    if (this.#waiting.delete(this)) this.#reply.end(error);
  }

  cancel(error: ProxyError): void {
    if (this.#call !== null) this.#call.cancel(error);
    else this.refuse(error);
  }
}
