import { z } from "zod";
import { choice, notSupported, percent } from "./field.js";

/** `loadBalancer` of a TrafficPolicy: the choice of the endpoint. */
export const LoadBalancer = z.strictObject({
  policy: choice(["round_robin", "peak_ewma"], ["least_request", "random", "ring_hash", "maglev"])
    .optional()
    .describe(
      "round_robin, or peak_ewma: the better of two random endpoints by latency and requests under way.",
    ),
  locality: z
    .strictObject({
      panicThreshold: percent()
        .optional()
        .describe(
          "Below this share of usable endpoints, in percent, ejections are ignored and all are used. 0 = never.",
        ),
      preferLocal: z
        .boolean()
        .optional()
        .describe(
          "true: requests stay in the caller's own zone while enough of it is usable. false: zones do not matter.",
        ),
      spillover: percent()
        .optional()
        .describe(
          "With preferLocal: below this share of usable endpoints in the own zone, in percent, the missing share goes to the other zones.",
        ),
      failover: notSupported("spec.failover names services and datacenters"),
      distribute: notSupported(),
    })
    .optional()
    .describe("Where requests may go when endpoints fail."),
  choiceCount: notSupported(),
  hashPolicy: notSupported(),
  slowStart: notSupported(),
  subset: notSupported(),
});
export type LoadBalancerSpec = z.infer<typeof LoadBalancer>;
