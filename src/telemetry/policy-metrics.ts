import type { Counter, Gauge } from "./cells.js";
import type { Metrics } from "./metrics.js";

/** What a fallback answers with. */
export type FallbackKind = "reply" | "service" | "stale";

/** The cells of one rule of who may do what. */
export interface AuthorizationMetrics {
  readonly allowed: Counter;
  readonly denied: Counter;
  readonly wouldDeny: Counter;
  readonly audited: Counter;
}

/** The cells of one policy's fallback. */
export interface FallbackMetrics<Cause extends string> {
  /** Failures answered, by cause. */
  readonly answered: Readonly<Record<Cause, Counter>>;
  /** Failures that had to be told to the caller. */
  readonly missed: Counter;
}

/** The cells of one policy's faults. */
export interface FaultMetrics {
  readonly delays: Counter;
  readonly aborts: Counter;
  readonly crowded: Counter;
}

/** The cells of one cluster that gets copies of requests. */
export interface MirrorMetrics {
  readonly active: Gauge;
  readonly answered: Counter;
  readonly failed: Counter;
  readonly cutOff: Counter;
  readonly skipped: Counter;
}

/** The cells of one cluster whose requests are hedged. */
export interface HedgeMetrics {
  readonly attempts: Counter;
  readonly wins: Counter;
  readonly denied: Counter;
}

/**
 * The metrics of what single policies do, by the document: the same cells over any number of config pushes. Resolved when routes
 * are composed.
 */
export class PolicyMetrics {
  readonly #metrics: Metrics;

  constructor(metrics: Metrics) {
    this.#metrics = metrics;
  }

  authorization(policy: string, rule: string): AuthorizationMetrics {
    const cell = (outcome: string): Counter => this.#metrics.authorizations.cell({ policy, rule, outcome });
    return {
      allowed: cell("allowed"),
      denied: cell("denied"),
      wouldDeny: cell("would_deny"),
      audited: cell("audited"),
    };
  }

  /** `causes` are all that there are. */
  fallback<Cause extends string>(
    policy: string,
    kind: FallbackKind,
    causes: readonly Cause[],
  ): FallbackMetrics<Cause> {
    const { fallbacks, fallbackMisses } = this.#metrics;
    const cells = causes.map((cause) => [cause, fallbacks.cell({ policy, kind, cause })] as const);
    return {
      answered: Object.fromEntries(cells) as Record<Cause, Counter>,
      missed: fallbackMisses.cell({ policy, kind }),
    };
  }

  fault(policy: string): FaultMetrics {
    const { faultsInjected, faultDelaysSkipped } = this.#metrics;
    return {
      delays: faultsInjected.cell({ policy, type: "delay" }),
      aborts: faultsInjected.cell({ policy, type: "abort" }),
      crowded: faultDelaysSkipped.cell({ policy }),
    };
  }

  /** Requests that all faults together hold back now. */
  faultsHeld(): Gauge {
    return this.#metrics.faultsHeld.cell({});
  }

  mirror(cluster: string): MirrorMetrics {
    const { mirrors, mirrorsActive } = this.#metrics;
    return {
      active: mirrorsActive.cell({ cluster }),
      answered: mirrors.cell({ cluster, outcome: "answered" }),
      failed: mirrors.cell({ cluster, outcome: "failed" }),
      cutOff: mirrors.cell({ cluster, outcome: "cut_off" }),
      skipped: mirrors.cell({ cluster, outcome: "skipped" }),
    };
  }

  hedge(cluster: string): HedgeMetrics {
    const { hedges, hedgeWins, hedgeBudgetDenied } = this.#metrics;
    return {
      attempts: hedges.cell({ cluster }),
      wins: hedgeWins.cell({ cluster }),
      denied: hedgeBudgetDenied.cell({ cluster }),
    };
  }
}
