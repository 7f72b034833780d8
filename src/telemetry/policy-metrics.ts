import type { Counter } from "./cells.js";
import type { Metrics } from "./metrics.js";

/** What a fallback answers with. */
export type FallbackKind = "reply" | "service" | "stale";

/** The cells of one policy's fallback. */
export interface FallbackMetrics<Cause extends string> {
  /** Failures answered, by cause. */
  readonly answered: Readonly<Record<Cause, Counter>>;
  /** Failures that had to be told to the caller. */
  readonly missed: Counter;
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
}
