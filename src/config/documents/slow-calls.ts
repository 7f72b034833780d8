import { z } from "zod";
import { positiveDuration } from "./field.js";

/** `slowCalls` of either breaker. */
export const SlowCalls = z.strictObject({
  threshold: positiveDuration().describe("Calls are slow whose response head takes this long or longer."),
  ratio: z
    .number()
    .gt(0, { error: "must be above 0; leave slowCalls out to have time not count" })
    .max(1)
    .optional()
    .describe("Share of slow calls, up to 1, at which the breaker opens."),
});
export type SlowCallsSpec = z.infer<typeof SlowCalls>;
