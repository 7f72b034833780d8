import { CounterFamily, GaugeFamily, type Family } from "./family.js";

/** What requests with an Idempotency-Key came to, and what is kept of them. Label `policy`: name of the configuration. */
export class IdempotencyMetrics {
  readonly requests = new CounterFamily({
    name: "remora_idempotency_requests_total",
    help: "Requests with an idempotency key by policy and result (executed, freed, replayed, conflict, mismatch, not_kept, invalid, refused); freed are executions whose key is free again.",
    labels: ["policy", "result"],
  });
  readonly entries = new GaugeFamily({
    name: "remora_idempotency_entries",
    help: "Replies kept in memory for requests that repeat a key.",
    labels: ["policy"],
  });
  readonly bytes = new GaugeFamily({
    name: "remora_idempotency_bytes",
    help: "Memory that these replies take, in bytes.",
    labels: ["policy"],
  });
  readonly executions = new GaugeFamily({
    name: "remora_idempotency_executions",
    help: "Requests with an idempotency key under way.",
    labels: ["policy"],
  });
  readonly evictions = new CounterFamily({
    name: "remora_idempotency_evictions_total",
    help: "Replies dropped before their time because the store was full.",
    labels: ["policy"],
  });
  readonly unavailable = new CounterFamily({
    name: "remora_idempotency_unavailable_total",
    help: "Times that Redis could not be asked or told of a request with an idempotency key.",
    labels: ["policy"],
  });

  /** All families, in the order of their declaration. */
  families(): readonly Family<string, unknown>[] {
    return Object.values(this) as Family<string, unknown>[];
  }
}
