import type { RateLimitConfig, RateLimitKey } from "../config/rate-limit-config.js";
import { duration, type Fields } from "./fields.js";

const maxInteger = 2 ** 32 - 1;
const scopes = { local: "LOCAL", global: "GLOBAL" } as const;
const fallbacks = { local: "FALLBACK_LOCAL", open: "OPEN", closed: "CLOSED" } as const;

/** remora.v1.RateLimit. */
export function encodeRateLimit(limit: RateLimitConfig): object {
  return {
    name: limit.name,
    source: limit.source,
    requests: limit.requests,
    per: duration(limit.perMs),
    burst: limit.burst,
    keys: limit.keys.map((key) => ({ header: key.type === "header" ? key.name : "" })),
    scope: scopes[limit.scope],
    onUnavailable: fallbacks[limit.onUnavailable],
    status: limit.status,
    retryAfter: limit.retryAfter,
  };
}

/** Throws ConfigError. */
export function decodeRateLimit(fields: Fields): RateLimitConfig {
  const scope = fields.oneOf("scope", Object.values(scopes));
  const fallback = fields.oneOf("onUnavailable", Object.values(fallbacks));
  return {
    name: fields.requiredString("name"),
    source: fields.string("source"),
    requests: fields.number("requests", 1, maxInteger),
    perMs: fields.durationMs("per"),
    burst: fields.number("burst", 1, maxInteger),
    keys: fields.messages("keys").map(decodeKey),
    scope: scope === "GLOBAL" ? "global" : "local",
    onUnavailable: fallback === "FALLBACK_LOCAL" ? "local" : fallback === "OPEN" ? "open" : "closed",
    status: fields.number("status", 400, 499),
    retryAfter: fields.boolean("retryAfter"),
  };
}

function decodeKey(fields: Fields): RateLimitKey {
  const name = fields.string("header");
  return name === "" ? { type: "sourceIdentity" } : { type: "header", name };
}
