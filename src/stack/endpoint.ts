import type { Service } from "./service.js";
import type { Upstream } from "./upstream.js";
import type { Hash64 } from "./xx-hash64.js";

/**
 * One address of a cluster at run time. It lives as long as the address stays in the cluster, over any number of config
 * pushes, so that its connections, averages and breaker survive them. Each mechanism owns its own field.
 */
export interface Endpoint extends Upstream {
  /** Requests under way. Written by the cluster's endpoint layer. */
  inflight: number;
  /**
   * Peak-EWMA of the time to the response head, milliseconds, as of `latencyAtMs`; 0 = not measured yet. Written by
   * balance/peak-ewma.ts.
   */
  latencyMs: number;
  latencyAtMs: number;
  /**
   * Monotonic milliseconds since which it is in use: when it joined others in its cluster, or came back from an ejection.
   * -Infinity: always. Read by slow start.
   */
  warmingSinceMs: number;
  /** Written by the breaker: may traffic be sent now? */
  readonly gate: EndpointGate;
  /** Sends one attempt to this address: the connection pool. */
  readonly transport: EndpointTransport;
}

export interface EndpointGate {
  /** False while ejected, or half-open with its probe under way. Cheap: called by pickers for each candidate. */
  isOpen(nowMs: number): boolean;
}

export interface EndpointTransport extends Service {
  /** Lets running requests finish, then closes; new ones are still served. Called when the endpoint leaves its cluster. */
  retire(): void;
  /** Closes everything now. */
  close(): void;
}

/** Chooses an endpoint. Pickers are rebuilt when the set changes and must not allocate per pick on the common path. */
export interface Picker<E extends Endpoint = Endpoint> {
  /**
   * undefined when the set is empty or nothing may be sent. Endpoints in `tried` are taken only when nothing else is left.
   * `key` is what a request is kept at one endpoint by; undefined when it has none. Only hashing pickers read it.
   */
  pick(tried: readonly Upstream[], nowMs: number, key?: Hash64): E | undefined;
}
