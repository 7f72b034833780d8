/** How requests that carry an Idempotency-Key are kept from being executed twice. */
export interface IdempotencyConfig {
  /** Unique in the mesh and stable over pushes: keys of equal names are one space. `service api.default`, for example. */
  readonly name: string;
  /** The document that set it, for error texts. */
  readonly source: string;
  /** Upper case. Requests of other methods pass untouched. */
  readonly methods: readonly string[];
  /** > 0: how long a reply is kept, from the end of its execution. */
  readonly ttlMs: number;
  /** Whether a request of these methods without a key is refused. */
  readonly isRequired: boolean;
  /** Bytes of a response's body beyond which it is not kept. */
  readonly maxBodyBytes: number;
  /** Bytes of a request's body by which it is told from another of the same key. */
  readonly maxRequestBytes: number;
  /** >= 1: replies kept in the memory of one instance. */
  readonly maxEntries: number;
  /** Bytes of the replies kept in the memory of one instance. */
  readonly maxStoreBytes: number;
  /** memory: each instance remembers for itself. redis: all instances together. */
  readonly store: "memory" | "redis";
  /** With store redis, while it cannot be asked: local: the memory takes its place; closed: requests with a key are refused. */
  readonly onUnavailable: "local" | "closed";
}
