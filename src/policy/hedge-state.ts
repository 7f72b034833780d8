import type { HedgeConfig } from "../config/hedge-config.js";
import { RecentLatency } from "./recent-latency.js";
import { RetryBudget } from "./retry-budget.js";

/** As for retries: finagle, linkerd. */
const windowMs = 10_000;
/** So that a service with few requests is hedged, too. */
const minAttemptsPerSecond = 1;

/** What a cluster remembers for hedging, whatever routes lead to it. */
export class HedgeState {
  readonly latency = new RecentLatency();
  #percent: number;
  #budget: RetryBudget;

  constructor({ budgetPercent }: HedgeConfig) {
    this.#percent = budgetPercent;
    this.#budget = budgetOf(budgetPercent);
  }

  get budget(): RetryBudget {
    return this.#budget;
  }

  /** Another share begins a budget anew; everything else is kept. */
  configure({ budgetPercent }: HedgeConfig): void {
    if (budgetPercent === this.#percent) return;
    this.#percent = budgetPercent;
    this.#budget = budgetOf(budgetPercent);
  }
}

function budgetOf(percent: number): RetryBudget {
  return new RetryBudget({ percent, minRetriesPerSecond: minAttemptsPerSecond, windowMs });
}
