/** The choice of an endpoint. What is absent is not configured; a field that its policy does not read has no effect. */
export interface LoadBalancerConfig {
  readonly policy: "peak_ewma" | "round_robin" | "random" | "least_request" | "ring_hash" | "maglev";
  /** Below this share of usable endpoints, in percent, ejection is ignored and all are used (panic). 0 = never. */
  readonly panicThresholdPercent: number;
  /** least_request: endpoints drawn, of which the least busy is taken. >= 2. Absent: 2. */
  readonly choiceCount?: number;
  /** ring_hash: bounds of the number of places on the ring. Absent: ringHashDefaults. */
  readonly ringHash?: RingHashConfig;
  /** maglev: entries of the table, a prime. Absent: maglevDefaults. */
  readonly maglevTableSize?: number;
  /** ring_hash and maglev: what of a request decides where it goes. Absent: nothing does, and the pick is random. */
  readonly hashPolicy?: readonly HashPolicy[];
  /** An endpoint that is new or comes back gets its share by and by, over this time. Absent: at once. */
  readonly slowStartMs?: number;
}

export interface RingHashConfig {
  readonly minimumRingSize: number;
  readonly maximumRingSize: number;
}

/** One part of the key of a request; a request that has not got it is keyed by the others (Envoy RouteAction.HashPolicy). */
export type HashPolicy = HashSource & {
  /** The parts after this one count only for requests that have no key yet. */
  readonly isTerminal: boolean;
};

/** Where a part of the key comes from. */
export type HashSource =
  /** All values of a field; the name is in lower case. */
  | { readonly type: "header"; readonly name: string }
  | {
      readonly type: "cookie";
      readonly name: string;
      /** Given: a client without the cookie gets one that lasts so long; 0 = until the browser is closed. Absent: it gets none. */
      readonly ttlMs?: number;
      /** Of the cookie that is given. */
      readonly path: string;
    }
  /** The first value of a parameter of the query. */
  | { readonly type: "query"; readonly name: string }
  /** Identity of the caller whose request the local application works on; its own where none is known. */
  | { readonly type: "sourceIdentity" }
  /** Address of that caller; a request for which none is known has no such part. */
  | { readonly type: "sourceIP" };

/**
 * A ring of Envoy's may have 8,388,608 places; building that many would hold up everything else of a sidecar for seconds.
 */
export const maxRingSize = 65_536;
/** Envoy: 5,000,011. Below it for the same reason; a prime. */
export const maxMaglevTableSize = 262_139;

/** Envoy's, but for the maximum. */
export const ringHashDefaults: RingHashConfig = { minimumRingSize: 1024, maximumRingSize: maxRingSize };
export const maglevDefaults = { tableSize: 65_537 } as const;
