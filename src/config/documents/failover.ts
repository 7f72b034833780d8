import { z } from "zod";
import { namespaceName, notSupported, serviceName } from "./field.js";

/** `failover` of a TrafficPolicy: who serves when the service itself cannot, in this order. */
export const Failover = z
  .array(
    z.strictObject({
      service: serviceName().describe("The service that requests go to instead."),
      namespace: namespaceName()
        .optional()
        .describe("Namespace of that service; the policy's own when absent."),
      datacenter: notSupported("name a service that has instances there"),
    }),
  )
  .min(1, { error: "must name at least one service" })
  .max(8);
export type FailoverSpec = z.infer<typeof Failover>;
