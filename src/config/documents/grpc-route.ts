import { z } from "zod";
import { choice, documentName, notSupported } from "./field.js";
import { HeaderMatch } from "./header-match.js";
import { HeaderModifierSpec } from "./header-modifier.js";
import { RequestMirror } from "./request-mirror.js";
import { Metadata } from "./metadata.js";
import { attachment, backendRef } from "./service-ref.js";

const GrpcMethodMatch = z.strictObject({
  type: choice(["Exact", "RegularExpression"])
    .default("Exact")
    .describe(
      "How service and method are compared; RegularExpression is RE2 and must match all of the name.",
    ),
  service: z
    .string()
    .min(1)
    .max(1024)
    .optional()
    .describe("Full name of the gRPC service, like shop.v1.Cart; every service when absent."),
  method: z.string().min(1).max(1024).optional().describe("Name of the method; every method when absent."),
});
export type GrpcMethodMatch = z.infer<typeof GrpcMethodMatch>;

const Match = z.strictObject({
  method: GrpcMethodMatch.optional().describe("Condition on service and method; every call when absent."),
  headers: z.array(HeaderMatch).max(16).optional().describe("Conditions on headers: all must hold."),
});
export type GrpcMatchSpec = z.infer<typeof Match>;

/** Gateway API GRPCRouteFilter, of a rule or of one backend: `type` names which one of the other fields is set. */
const GrpcRouteFilter = z.strictObject({
  type: choice(
    ["RequestHeaderModifier", "ResponseHeaderModifier", "RequestMirror"],
    ["ExtensionRef"],
  ).describe("Which filter this is; the field of the same name holds it."),
  requestHeaderModifier: HeaderModifierSpec.optional().describe("Changes headers of the request."),
  responseHeaderModifier: HeaderModifierSpec.optional().describe("Changes headers of the response."),
  requestMirror: RequestMirror.optional().describe(
    "Sends copies of calls to another service; in the filters of a rule only.",
  ),
  extensionRef: notSupported(),
});
export type GrpcRouteFilter = z.infer<typeof GrpcRouteFilter>;

const Rule = z.strictObject({
  name: documentName()
    .optional()
    .describe("Name of the rule, unique in the route; shown in logs and metrics."),
  matches: z
    .array(Match)
    .max(64)
    .optional()
    .describe("The rule applies when any of these matches; to every gRPC call when absent."),
  filters: z
    .array(GrpcRouteFilter)
    .max(16)
    .optional()
    .describe("Changes to requests and responses of the rule."),
  backendRefs: z
    .array(backendRef(GrpcRouteFilter))
    .max(16)
    .optional()
    .describe("Where calls go, by weight. Without any they are answered with UNAVAILABLE."),
  sessionPersistence: notSupported(),
  timeouts: notSupported("GRPCRoute has none; see timeouts of TrafficPolicy"),
  retry: notSupported("GRPCRoute has none; see retry of TrafficPolicy"),
});

/** `GRPCRoute` of the Gateway API, attached to services (GAMMA), with the fields that this version carries out. */
export const GrpcRoute = z.strictObject({
  apiVersion: choice(["gateway.networking.k8s.io/v1", "gateway.networking.k8s.io/v1alpha2"]).describe(
    "Version of the Gateway API.",
  ),
  kind: z.literal("GRPCRoute").describe("GRPCRoute."),
  metadata: Metadata.describe("Who the document is."),
  spec: z
    .strictObject({
      ...attachment,
      rules: z
        .array(Rule)
        .max(16)
        .default([{}])
        .describe("What to do with which gRPC call. No match: UNIMPLEMENTED."),
      useDefaultGateways: notSupported(),
    })
    .describe("What the route does."),
  status: z.unknown().optional().describe("Written by Remora; ignored on input."),
});
export type GrpcRoute = z.infer<typeof GrpcRoute>;
