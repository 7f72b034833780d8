import { hedgeDefaults } from "../../src/config/cluster-defaults.js";
import type { HedgeSpec } from "../../src/config/documents/hedge.js";
import type { HedgeConfig } from "../../src/config/hedge-config.js";
import { milliseconds } from "./milliseconds.js";

/** Hedging of a cluster; undefined when its policy says nothing of it. */
export function compileHedge(spec: HedgeSpec | undefined): HedgeConfig | undefined {
  if (spec === undefined) return undefined;
  const { delay, percentile, minDelay, maxAttempts, budgetPercent } = spec;
  return {
    after:
      percentile === undefined
        ? { type: "delay", delayMs: milliseconds(delay, hedgeDefaults.minDelayMs) }
        : { type: "percentile", percentile, minDelayMs: milliseconds(minDelay, hedgeDefaults.minDelayMs) },
    maxAttempts: maxAttempts ?? hedgeDefaults.maxAttempts,
    budgetPercent: budgetPercent ?? hedgeDefaults.budgetPercent,
  };
}
