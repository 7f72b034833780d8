import type { RateLimitConfig } from "./rate-limit-config.js";

/** What a rate limit has where its document is silent. */
export const rateLimitDefaults = {
  scope: "local",
  onUnavailable: "local", // a bound that is too wide by the number of instances is better than none, and than an outage
  status: 429, // RFC 6585 §4
  retryAfter: true,
} as const satisfies Partial<RateLimitConfig>;
