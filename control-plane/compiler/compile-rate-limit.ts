import { rateLimitDefaults } from "../../src/config/rate-limit-defaults.js";
import { rateLimitList } from "../../src/config/documents/rate-limit.js";
import type { RateLimitConfig } from "../../src/config/rate-limit-config.js";
import { milliseconds } from "./milliseconds.js";
import { nearestSection, type Policies } from "./policies-for.js";

/**
 * The limits of the nearest policy that has some; undefined when none has. A limit is named after what its policy is
 * attached to, so all rules that a policy holds for share its buckets.
 */
export function compileRateLimits(policies: Policies): readonly RateLimitConfig[] | undefined {
  const found = nearestSection(policies, "rateLimit");
  if (found === undefined) return undefined;
  const { spec, source, target } = found;
  const limits = rateLimitList(spec);
  return limits.map((limit, index) => ({
    name: limits.length === 1 ? target : `${target} #${index + 1}`,
    source,
    requests: limit.requests,
    perMs: milliseconds(limit.per, 1),
    burst: limit.burst ?? limit.requests,
    keys: (limit.key ?? []).map(({ header }) =>
      header === undefined ? { type: "sourceIdentity" } : { type: "header", name: header.toLowerCase() },
    ),
    scope: limit.scope ?? rateLimitDefaults.scope,
    onUnavailable: limit.onUnavailable ?? rateLimitDefaults.onUnavailable,
    status: limit.response?.status ?? rateLimitDefaults.status,
    retryAfter: limit.response?.retryAfter ?? rateLimitDefaults.retryAfter,
  }));
}
