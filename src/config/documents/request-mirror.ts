import { z } from "zod";
import { port, serviceName, namespaceName } from "./field.js";

/** Gateway API HTTPRequestMirrorFilter: a copy of the request for another service. */
export const RequestMirror = z.strictObject({
  backendRef: z
    .strictObject({
      group: z
        .literal("", { error: 'must be "" (the core group of Service)' })
        .optional()
        .describe('Group of the service: "".'),
      kind: z
        .literal("Service", { error: "must be Service" })
        .optional()
        .describe("Kind of the service: Service."),
      name: serviceName().describe("The service that gets the copies."),
      namespace: namespaceName()
        .optional()
        .describe("Namespace of that service; the route's own when absent."),
      port: port().optional().describe("Accepted as in Kubernetes and not compared."),
    })
    .describe("Where copies go."),
  percent: z
    .int()
    .min(0)
    .max(100)
    .optional()
    .describe("Share of the requests that are copied; all when absent."),
  fraction: z
    .strictObject({
      numerator: z.int().min(0).max(1_000_000).describe("So many requests"),
      denominator: z.int().min(1).max(1_000_000).default(100).describe("of so many are copied."),
    })
    .optional()
    .describe("The share as a fraction, instead of percent."),
});
export type RequestMirrorSpec = z.infer<typeof RequestMirror>;
