import { z } from "zod";
import { percent, positiveDuration } from "./field.js";
import { SlowCalls } from "./slow-calls.js";

const inARow = () => z.int().min(0).max(1000).optional();

/** `outlierDetection` of a TrafficPolicy: the endpoint breaker. */
export const OutlierDetection = z.strictObject({
  consecutive5xx: inARow().describe(
    "Failures in a row (5xx, connection errors, timeouts) that eject an endpoint. 0 = off.",
  ),
  interval: positiveDuration()
    .optional()
    .describe("Window over which the success rate and slow calls are measured."),
  baseEjectionTime: positiveDuration()
    .optional()
    .describe("First ejection time; it doubles with each further one."),
  maxEjectionTime: positiveDuration().optional().describe("Longest ejection time."),
  maxEjectionPercent: percent()
    .optional()
    .describe("Most endpoints that may be ejected at once, in percent."),
  successRate: z
    .strictObject({
      minimumRatio: z
        .number()
        .min(0)
        .max(1)
        .optional()
        .describe("Share of successes, 0 to 1, below which an endpoint is ejected. 0 = off."),
      requestVolume: z
        .int()
        .min(1)
        .max(1_000_000)
        .optional()
        .describe("Requests in the window below which it is not judged."),
      minimumHosts: z
        .int()
        .min(2)
        .max(1000)
        .optional()
        .describe("Endpoints with requestVolume below which none is compared with the others."),
      stdevFactor: z
        .number()
        .min(0.1)
        .max(10)
        .optional()
        .describe(
          "Standard deviations below the mean of all endpoints at which one is ejected. Without it and minimumHosts they are not compared.",
        ),
    })
    .optional()
    .describe("Ejection by success rate."),
  slowCalls: SlowCalls.optional().describe(
    "Ejection by slow attempts, over the same window and volume as the success rate.",
  ),
  consecutiveGatewayErrors: inARow().describe(
    "502, 503, 504, connection errors and timeouts in a row that eject an endpoint, beside consecutive5xx. 0 = off.",
  ),
  consecutiveLocalOriginFailures: inARow().describe(
    "Connection errors and timeouts in a row, attempts without a response, that eject an endpoint, beside consecutive5xx. 0 = off.",
  ),
});
export type OutlierDetectionSpec = z.infer<typeof OutlierDetection>;
