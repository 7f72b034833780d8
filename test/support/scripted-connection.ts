import type { ProxyError } from "../../src/errors/proxy-error.js";
import type { ConnectionOwner, PooledConnection } from "../../src/pool/http1-pool.js";
import type { RequestContext } from "../../src/stack/request-context.js";
import type { Call, Reply } from "../../src/stack/service.js";

/** A pooled connection of one request at a time, that the test answers for. */
export class ScriptedConnection implements PooledConnection {
  readonly #owner: ConnectionOwner;
  requests = 0;
  isDestroyed = false;
  idleSinceMs = 0;
  keepAliveHintMs = -1;
  #reply: Reply | null = null;

  constructor(owner: ConnectionOwner) {
    this.#owner = owner;
  }

  get isBusy(): boolean {
    return this.#reply !== null;
  }

  send(_: RequestContext, reply: Reply): Call {
    if (this.isDestroyed || this.#reply !== null) throw new Error("cannot send now");
    this.requests++;
    this.#reply = reply;
    return { cancel: (error) => this.destroy(error) };
  }

  respond(): void {
    const reply = this.#reply;
    this.#reply = null;
    this.#owner.connectionIdle(this);
    reply?.head({ status: 200, reason: "", version: "1.1", headers: [] }, null);
    reply?.end(null);
  }

  destroy(error: ProxyError): void {
    if (this.isDestroyed) return;
    this.isDestroyed = true;
    const reply = this.#reply;
    this.#reply = null;
    this.#owner.connectionClosed(this);
    reply?.end(error);
  }
}
