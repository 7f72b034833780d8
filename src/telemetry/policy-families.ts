import { CounterFamily, GaugeFamily } from "./family.js";
import { StandardMetrics } from "./standard-metrics.js";

/** The metrics of what policies do with single requests. A part of Metrics. */
export class PolicyFamilies extends StandardMetrics {
  readonly authorizations = new CounterFamily({
    name: "remora_authorization_total",
    help: "Inbound requests by the rule that decided and outcome (allowed, denied, would_deny, audited); only with policies.",
    labels: ["policy", "rule", "outcome"],
  });
  readonly fallbacks = new CounterFamily({
    name: "remora_fallbacks_total",
    help: "Failures that a fallback answered, by policy, kind of answer (reply, service, stale) and cause.",
    labels: ["policy", "kind", "cause"],
  });
  readonly fallbackMisses = new CounterFamily({
    name: "remora_fallback_misses_total",
    help: "Failures that a fallback had no answer to: nothing kept, or a request that must not be sent elsewhere.",
    labels: ["policy", "kind"],
  });
  readonly faultsInjected = new CounterFamily({
    name: "remora_faults_injected_total",
    help: "Faults injected on purpose, by policy and type (delay, abort).",
    labels: ["policy", "type"],
  });
  readonly faultDelaysSkipped = new CounterFamily({
    name: "remora_fault_delays_skipped_total",
    help: "Requests that a fault did not hold back because too many were held back already.",
    labels: ["policy"],
  });
  readonly faultsHeld = new GaugeFamily<never>({
    name: "remora_fault_requests_held",
    help: "Requests that faults hold back now.",
    labels: [],
  });
  readonly mirrors = new CounterFamily({
    name: "remora_mirrors_total",
    help: "Copies of requests by cluster that gets them and outcome (answered, failed, cut_off, skipped).",
    labels: ["cluster", "outcome"],
  });
  readonly mirrorsActive = new GaugeFamily({
    name: "remora_mirrors_active",
    help: "Copies of requests under way.",
    labels: ["cluster"],
  });
  readonly hedges = new CounterFamily({
    name: "remora_hedges_total",
    help: "Further attempts because the first was without an answer.",
    labels: ["cluster"],
  });
  readonly hedgeWins = new CounterFamily({
    name: "remora_hedge_wins_total",
    help: "Requests that such a further attempt answered.",
    labels: ["cluster"],
  });
  readonly hedgeBudgetDenied = new CounterFamily({
    name: "remora_hedge_budget_denied_total",
    help: "Further attempts not made because their budget was spent.",
    labels: ["cluster"],
  });
}
