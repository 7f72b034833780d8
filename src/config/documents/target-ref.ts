import { z } from "zod";
import { choice, documentName } from "./field.js";

/** Group of the documents that direct requests. */
export const routeGroup = "gateway.networking.k8s.io";

/** What a TrafficPolicy is attached to (GEP-713): a service, a route, or one rule of a route. */
export const TargetRef = z.strictObject({
  group: choice(["", routeGroup])
    .optional()
    .describe(`"" for Service, ${routeGroup} for HTTPRoute and GRPCRoute; follows from kind when absent.`),
  kind: choice(["Service", "HTTPRoute", "GRPCRoute"], ["Gateway"]).describe(
    "Kind of the target: Service, HTTPRoute or GRPCRoute.",
  ),
  name: z.string().describe("The service or the route, in the namespace of the policy."),
  sectionName: documentName().optional().describe("Name of one rule of the route; every rule when absent."),
});
export type TargetRef = z.infer<typeof TargetRef>;
