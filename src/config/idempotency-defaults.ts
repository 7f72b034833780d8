import type { IdempotencyConfig } from "./idempotency-config.js";

const kib = 1024;
const mib = 1024 * kib;

/** What `idempotency` has where its document is silent. */
export const idempotencyDefaults = {
  methods: ["POST", "PATCH"], // the two that the draft is about: the others may be repeated by themselves (RFC 9110 §9.2.2)
  ttlMs: 24 * 3_600_000, // Stripe's and Adyen's: longer than any retry, short enough to forget
  isRequired: false,
  maxBodyBytes: 64 * kib, // what the mesh keeps of a request's body for retries, too
  maxRequestBytes: 64 * kib,
  maxEntries: 10_000,
  maxStoreBytes: 16 * mib, // a third of what a sidecar needs besides
  store: "memory",
  onUnavailable: "local", // a key that is remembered by one instance is better than none, and than an outage
} as const satisfies Partial<IdempotencyConfig>;

/** Requests with a key under way at once, for each policy: each may hold a response of `maxBodyBytes` that is being kept. */
export const maxExecutions = 1024;

/**
 * How long an execution goes on whose caller has gone away, milliseconds: as long as a silent stream may last while there
 * is a caller (stack/server-timeouts.ts), unless the request's own deadline comes first.
 */
export const maxOrphanMs = 300_000;
