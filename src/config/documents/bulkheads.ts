import { z } from "zod";
import { duration, limit } from "./field.js";

const Bulkhead = z.strictObject({
  maxRequests: limit()
    .optional()
    .describe("Places that belong to the class alone, out of connectionPool.maxRequests."),
  maxPending: limit().optional().describe("Requests of the class that wait for a place."),
  maxWait: duration().optional().describe("Longest wait for a place; 0s = nobody waits."),
});
export type BulkheadSpec = z.infer<typeof Bulkhead>;

/** `bulkheads` of a TrafficPolicy: what each priority class may take of a service. */
export const Bulkheads = z.strictObject({
  critical: Bulkhead.optional().describe("Requests of the class critical."),
  default: Bulkhead.optional().describe("Requests of the class default."),
  batch: Bulkhead.optional().describe("Requests of the class batch."),
});
export type BulkheadsSpec = z.infer<typeof Bulkheads>;
