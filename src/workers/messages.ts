import type { ClusterView } from "../admin/admin-view.js";
import type { Bootstrap } from "../config/bootstrap.js";
import type { Snapshot } from "../config/snapshot.js";
import type { TakenCalls } from "../discovery/call-reporter.js";
import type { BreakerAnswer, ServiceCommand } from "../policy/breaker-command.js";
import type { MeshTrust } from "../identity/mesh-trust.js";
import type { Svid } from "../identity/svid.js";
import type { MetricsState } from "../telemetry/metrics.js";
import type { ProcessMetrics } from "../telemetry/registry.js";

/** What a worker is told once, before anything else. */
export interface WorkerStart {
  readonly kind: "start";
  /** 1, 2, ... */
  readonly worker: number;
  /** With the ports that the primary listens at: none is 0. */
  readonly bootstrap: Bootstrap;
  readonly nodeId: string;
  readonly svid: Svid;
  readonly trust: MeshTrust;
  /** undefined: there is none yet. */
  readonly snapshot: Snapshot | undefined;
  /** What operators have told the breakers and still holds. */
  readonly overrides: readonly ServiceCommand[];
}

/**
 * What a worker is asked: whether it lives, what it has counted, what it knows of the upstreams, what was called since it was
 * asked last, to carry out a command to breakers, to drain, to end.
 */
export type Question = "alive" | "metrics" | "clusters" | "calls" | "drive" | "drain" | "close";

/** From the primary to a worker, in this order: `start`, then anything. Private keys travel here and nowhere else. */
export type ToWorker =
  | WorkerStart
  | { readonly kind: "svid"; readonly svid: Svid }
  | { readonly kind: "trust"; readonly trust: MeshTrust }
  | { readonly kind: "snapshot"; readonly snapshot: Snapshot }
  /** A connection of the listener `at` (address:port) comes along. */
  | {
      readonly kind: "connection";
      readonly id: number;
      readonly at: string;
      readonly allowsHalfOpen: boolean;
    }
  | {
      readonly kind: "ask";
      readonly id: number;
      readonly question: Question;
      /** Of `drive`. */
      readonly command: ServiceCommand | undefined;
    };

export interface MetricsReport {
  readonly families: MetricsState;
  readonly process: ProcessMetrics;
}

export interface Answers {
  readonly alive: true;
  readonly metrics: MetricsReport;
  readonly clusters: readonly ClusterView[];
  readonly calls: TakenCalls;
  readonly drive: BreakerAnswer;
  readonly drain: true;
  readonly close: true;
}

export type WorkerLogLevel = "debug" | "info" | "warn" | "error";

/** From a worker to the primary. */
export type FromWorker =
  /** It listens, with everything of `start` in force. */
  | { readonly kind: "ready" }
  /** It cannot start, by the operator's mistake, and ends. */
  | { readonly kind: "refused"; readonly message: string }
  /** A snapshot is in force; `error`: it is not, and what was before is. */
  | { readonly kind: "applied"; readonly version: string; readonly error: string | undefined }
  /** It has a connection, of which nothing was read yet: until then it can go to another worker. */
  | { readonly kind: "taken"; readonly id: number }
  /** So many connections have closed. Key: the listener's address:port. */
  | { readonly kind: "closed"; readonly counts: ReadonlyMap<string, number> }
  | {
      readonly kind: "log";
      readonly level: WorkerLogLevel;
      readonly message: string;
      readonly fields: Readonly<Record<string, unknown>>;
    }
  | { readonly kind: "answer"; readonly id: number; readonly value: Answers[Question] }
  /** It ends after an exception that nobody caught; its last counts. */
  | { readonly kind: "crashed"; readonly error: string; readonly families: MetricsState };
