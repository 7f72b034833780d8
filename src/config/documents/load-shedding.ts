import { z } from "zod";
import { limit } from "./field.js";

const share = () => z.number().min(1).max(100);

/** `loadShedding` of a TrafficPolicy: what the service's own sidecars turn away, and whom first. */
export const LoadShedding = z.strictObject({
  maxRequests: limit()
    .optional()
    .describe(
      "Requests under way at one instance at once; instead of it, adaptiveConcurrency finds a limit.",
    ),
  shares: z
    .strictObject({
      default: share()
        .optional()
        .describe(
          "Requests of default are let in while less than this part of the limit is in use, in percent.",
        ),
      batch: share()
        .optional()
        .describe(
          "Requests of batch are let in while less than this part of the limit is in use, in percent.",
        ),
    })
    .optional()
    .describe("How far the limit may be in use before a class is turned away; critical has all of it."),
});
export type LoadSheddingSpec = z.infer<typeof LoadShedding>;
