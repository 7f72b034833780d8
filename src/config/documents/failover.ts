import { z } from "zod";
import { datacenterName, namespaceName, serviceName } from "./field.js";

/** `failover` of a TrafficPolicy: who serves when the service itself cannot, in this order. */
export const Failover = z
  .array(
    z
      .strictObject({
        service: serviceName()
          .optional()
          .describe(
            "The service that requests go to instead; with a datacenter the policy's own when absent.",
          ),
        namespace: namespaceName()
          .optional()
          .describe("Namespace of that service; the policy's own when absent."),
        datacenter: datacenterName()
          .optional()
          .describe(
            "Consul datacenter whose instances take the requests; the control plane's own when absent.",
          ),
      })
      .refine(({ service, datacenter }) => service !== undefined || datacenter !== undefined, {
        error: "must name a service, a datacenter or both",
      })
      .refine(({ service, namespace }) => service !== undefined || namespace === undefined, {
        error: "namespace is that of service, which is missing",
      }),
  )
  .min(1, { error: "must name at least one service" })
  .max(8);
export type FailoverSpec = z.infer<typeof Failover>;
