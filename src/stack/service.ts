import type { ProxyError } from "../errors/proxy-error.js";
import type { BodySource } from "../traffic/body.js";
import type { ResponseHead } from "../traffic/message.js";
import type { RequestContext } from "./request-context.js";

/**
 * What happens to one call, told from the inside out. Order: informational*, head?, end. `end` comes exactly once and
 * last, also after a cancel, so that whatever a layer counted up it counts down there.
 */
export interface Reply {
  /** A 1xx head other than 101. */
  informational(head: ResponseHead): void;
  /** The final head, before any byte went downstream: the commit point of retries. body is null when there is none. */
  head(head: ResponseHead, body: BodySource | null): void;
  /** null: the response is complete. An error before head: there is no response; after head: it is cut short. */
  end(error: ProxyError | null): void;
}

/** A call that is on its way. */
export interface Call {
  /** Ends the call now: the innermost part lets go and `end(error)` travels up through every layer. No effect after end. */
  cancel(error: ProxyError): void;
}

/** Takes a request and answers through `reply`, possibly before `call` returns. Never throws. */
export interface Service {
  call(request: RequestContext, reply: Reply): Call;
}

/** Wraps a service. Layers are composed when a snapshot is applied, never per request. */
export type Layer = (inner: Service) => Service;

/** Composes layers, outermost first, around a service. */
export function stack(layers: readonly Layer[], inner: Service): Service {
  return layers.reduceRight((service, layer) => layer(service), inner);
}

/** The call of a request that has already ended. */
export const endedCall: Call = { cancel() {} };
