/** One limit of how many requests are let through. */
export interface RateLimitConfig {
  /** Unique in the mesh and stable over pushes: limits of equal names count together. `service api.default`, for example. */
  readonly name: string;
  /** The document that set it, for error texts. */
  readonly source: string;
  /** >= 1: per period, in the long run. */
  readonly requests: number;
  /** >= 1. */
  readonly perMs: number;
  /** >= 1: at once after a pause; the size of the bucket. */
  readonly burst: number;
  /** What requests are told apart by, all together. Empty: one bucket for all. */
  readonly keys: readonly RateLimitKey[];
  /** local: each process counts for itself. global: all count together, in Redis. */
  readonly scope: "local" | "global";
  /** With scope global, while Redis cannot be asked. */
  readonly onUnavailable: "local" | "open" | "closed";
  /** Status of the refusal, 400-499: anything above would speak against the instance. */
  readonly status: number;
  /** Whether the refusal says when to come again. */
  readonly retryAfter: boolean;
  /** Processes of one sidecar that a local limit is divided among; set by the sidecar itself. Absent: 1. */
  readonly processes?: number;
}

export type RateLimitKey =
  /** `name` in lower case. */
  { readonly type: "header"; readonly name: string } | { readonly type: "sourceIdentity" };
