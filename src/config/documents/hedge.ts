import { z } from "zod";
import { percent, positiveDuration } from "./field.js";

/** `hedge` of a TrafficPolicy: a second attempt elsewhere while the first is still without an answer. */
export const Hedge = z.strictObject({
  delay: positiveDuration().optional().describe("How long the first attempt is waited for."),
  percentile: z
    .number()
    .min(50)
    .max(99.9)
    .optional()
    .describe(
      "Instead of delay: the time in which this share of the latest requests had their answer, in percent.",
    ),
  minDelay: positiveDuration().optional().describe("With percentile: the least time that is waited."),
  maxAttempts: z.int().min(1).max(3).optional().describe("Further attempts beside the first, 1-3."),
  budgetPercent: percent()
    .optional()
    .describe(
      "Share of the requests that may be further attempts, in percent; one a second is always allowed.",
    ),
});
export type HedgeSpec = z.infer<typeof Hedge>;
