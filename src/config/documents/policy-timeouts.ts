import { z } from "zod";
import { duration, notSupported } from "./field.js";

/** `timeouts` of a TrafficPolicy: time limits of routes that say nothing themselves. */
export const PolicyTimeouts = z.strictObject({
  request: duration().optional().describe("Caps the whole request, retries included. 0s = none."),
  backendRequest: duration().optional().describe("Caps each attempt. 0s = none."),
  streamIdle: duration()
    .optional()
    .describe("Longest silence in both directions while a request or a gRPC stream is under way. 0s = none."),
  idle: notSupported(
    "see timeouts.streamIdle for requests under way, connectionPool.idleTimeout for connections",
  ),
});
export type PolicyTimeoutsSpec = z.infer<typeof PolicyTimeouts>;
