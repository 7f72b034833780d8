import { z } from "zod";
import { percent, positiveDuration } from "./field.js";

/** `retryBudget` of a TrafficPolicy: the bound of all retries together. */
export const RetryBudget = z.strictObject({
  percent: percent().optional().describe("Share of the requests that may be retries, in percent."),
  minRetriesPerSecond: z
    .number()
    .min(0)
    .max(10_000)
    .optional()
    .describe("Retries per second that are always allowed."),
  interval: positiveDuration().optional().describe("Window over which requests are counted."),
});
export type RetryBudgetSpec = z.infer<typeof RetryBudget>;
