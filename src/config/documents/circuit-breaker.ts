import { z } from "zod";
import { duration, limit, positiveDuration } from "./field.js";
import { SlowCalls } from "./slow-calls.js";

/** `circuitBreaker` of a TrafficPolicy: the breaker of the service as a whole. Without it there is none. */
export const CircuitBreaker = z.strictObject({
  failureRatio: z
    .number()
    .min(0)
    .max(1)
    .optional()
    .describe("Share of failed requests, 0 to 1, at which it opens. 0 = failures do not count."),
  slowCalls: SlowCalls.optional().describe("Opening by slow requests."),
  minimumRequests: limit().optional().describe("Requests in the window below which nothing is judged."),
  window: positiveDuration().optional().describe("Time over which requests are counted."),
  openFor: positiveDuration()
    .optional()
    .describe("First opening; it doubles with each further one in a row."),
  maxOpenFor: positiveDuration().optional().describe("Longest opening."),
  halfOpenRequests: z
    .int()
    .min(1)
    .max(1000)
    .optional()
    .describe("Probes after an opening: never more at once, and so many decide."),
  ramp: duration()
    .optional()
    .describe("After closing, the share of requests let through grows for so long. 0s = all at once."),
});
export type CircuitBreakerSpec = z.infer<typeof CircuitBreaker>;
