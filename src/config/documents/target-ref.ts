import { z } from "zod";
import { choice, notSupported, serviceName } from "./field.js";

/** What a TrafficPolicy is attached to (GEP-713). */
export const TargetRef = z.strictObject({
  group: z
    .literal("", { error: 'must be "" (the core group of Service)' })
    .optional()
    .describe('"" for Service.'),
  kind: choice(["Service"], ["HTTPRoute", "GRPCRoute", "Gateway"]).describe("Kind of the target: Service."),
  name: serviceName().describe("The service, in the namespace of the policy."),
  sectionName: notSupported(),
});
