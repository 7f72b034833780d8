import { z } from "zod";
import { choice, headerName, limit, positiveDuration } from "./field.js";

const Key = z.strictObject({
  header: headerName().optional().describe("Each value of this header has a bucket of its own."),
  sourceIdentity: z
    .literal(true, { error: "must be true; leave it out otherwise" })
    .optional()
    .describe("Each calling service, by the identity that its certificate proves, has a bucket of its own."),
});

const RateLimit = z.strictObject({
  requests: limit().describe("Requests per period that are let through in the long run."),
  per: positiveDuration().describe("The period."),
  burst: limit()
    .optional()
    .describe(
      "Requests that are let through at once after a pause: the size of the bucket. requests when absent.",
    ),
  key: z
    .array(Key)
    .max(4)
    .optional()
    .describe(
      "What requests are told apart by; all together name one bucket. One bucket for all when absent.",
    ),
  scope: choice(["local", "global"])
    .optional()
    .describe("local: each instance of the service counts for itself. global: all count together, in Redis."),
  onUnavailable: choice(["local", "open", "closed"])
    .optional()
    .describe(
      "With scope global, while Redis cannot be asked. local: each instance counts for itself. open: all pass. closed: none does.",
    ),
  response: z
    .strictObject({
      status: z
        .int()
        .min(400)
        .max(499, {
          error: "must be within 400-499: callers' sidecars take 5xx for failures of the instance",
        })
        .optional()
        .describe("Status of the refusal, 400-499; of gRPC calls it is RESOURCE_EXHAUSTED."),
      retryAfter: z
        .boolean()
        .optional()
        .describe("Whether the refusal says when to come again (Retry-After)."),
    })
    .optional()
    .describe("What callers over the limit are told."),
});
export type RateLimitSpec = z.infer<typeof RateLimit>;

/** `rateLimit` of a TrafficPolicy: one limit, or several that must all admit a request. */
export const RateLimits = z.union([
  RateLimit,
  z.array(RateLimit).min(1, { error: "must hold at least one limit" }).max(8),
]);
export type RateLimitsSpec = z.infer<typeof RateLimits>;

/** One or several, as a list. */
export function rateLimitList(spec: RateLimitsSpec): readonly RateLimitSpec[] {
  return Array.isArray(spec) ? spec : [spec];
}
