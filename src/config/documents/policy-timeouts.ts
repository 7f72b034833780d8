import { z } from "zod";
import { duration } from "./field.js";

/** `timeouts` of a TrafficPolicy: time limits of routes that say nothing themselves. */
export const PolicyTimeouts = z.strictObject({
  request: duration().optional().describe("Caps the whole request, retries included. 0s = none."),
  backendRequest: duration().optional().describe("Caps each attempt. 0s = none."),
});
export type PolicyTimeoutsSpec = z.infer<typeof PolicyTimeouts>;
