import type { PriorityClass } from "../traffic/priority.js";

/** Part of a cluster's requests that belongs to one class. */
export interface BulkheadConfig {
  /** >= 1: places of its own, out of the cluster's `maxRequests`. Absent: it shares what the others leave. */
  readonly maxRequests?: number;
  /** Requests that wait for a place; 0 = nobody waits. */
  readonly maxPending: number;
  /** Longest wait for a place, milliseconds; 0 = nobody waits. */
  readonly maxWaitMs: number;
}

/** By class; a class without an entry shares what the others leave, and its requests do not wait. */
export type BulkheadsConfig = Readonly<Partial<Record<PriorityClass, BulkheadConfig>>>;
