import { z } from "zod";
import { limit, positiveDuration } from "./field.js";

/** `adaptiveConcurrency` of a TrafficPolicy: a limit at each instance that follows its latency. */
export const AdaptiveConcurrency = z.strictObject({
  minLimit: limit().optional().describe("The limit never falls below this."),
  maxLimit: limit().optional().describe("The limit never rises above this."),
  tolerance: z
    .number()
    .min(1.1)
    .max(10)
    .optional()
    .describe("How many times the latency without load is still taken for no queue, 1.1 to 10."),
  window: positiveDuration().optional().describe("How often the limit is judged."),
});
export type AdaptiveConcurrencySpec = z.infer<typeof AdaptiveConcurrency>;
