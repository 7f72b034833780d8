import type { ValueMatch } from "./route-match.js";

/** Failures that a document asks for, for a while. */
export interface FaultConfig {
  readonly delay?: FaultDelay;
  readonly abort?: FaultAbort;
  /** All must match; empty: every request. */
  readonly headers: readonly ValueMatch[];
  /** Unix time from which on nothing is injected any more, by the sidecar's own clock. */
  readonly expiresMs: number;
  /** The document that set it. */
  readonly source: string;
}

export interface FaultDelay {
  readonly fixedMs: number;
  /** 0..100: share of the requests. */
  readonly percent: number;
}

/** At least one of the two statuses. */
export interface FaultAbort {
  /** 400-599; gRPC calls get what clients make of it when `grpcStatus` is absent. */
  readonly status?: number;
  /** 1-16; without `status` only gRPC calls are aborted. */
  readonly grpcStatus?: number;
  /** 0..100: share of the requests. */
  readonly percent: number;
}
