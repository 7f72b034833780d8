import { z } from "zod";
import { choice, documentName, duration, notSupported } from "./field.js";
import { HeaderMatch, matchPattern } from "./header-match.js";
import { BackendFilter, HttpRouteFilter } from "./http-route-filter.js";
import { Metadata } from "./metadata.js";
import { attachment, backendRef } from "./service-ref.js";

const PathMatchSpec = z.strictObject({
  type: choice(["Exact", "PathPrefix", "RegularExpression"])
    .default("PathPrefix")
    .describe("PathPrefix compares whole segments; RegularExpression is RE2 and must match all of the path."),
  value: z.string().min(1).max(1024).default("/").describe("The path, prefix or expression."),
});

const QueryParamMatch = z.strictObject({
  type: choice(["Exact", "RegularExpression"]).default("Exact").describe("How value is compared."),
  name: z.string().min(1).max(256).describe("Name of the parameter; case matters."),
  value: matchPattern().describe("The value, or an RE2 expression that must match all of it."),
});

const Match = z.strictObject({
  path: PathMatchSpec.optional().describe("Condition on the path; every path when absent."),
  method: choice(["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"])
    .optional()
    .describe("The method, in upper case; every method when absent."),
  headers: z.array(HeaderMatch).max(16).optional().describe("Conditions on headers: all must hold."),
  queryParams: z
    .array(QueryParamMatch)
    .max(16)
    .optional()
    .describe("Conditions on query parameters: all must hold."),
});
export type MatchSpec = z.infer<typeof Match>;

const BackendRef = backendRef(BackendFilter);

const Timeouts = z.strictObject({
  request: duration().optional().describe("Caps the whole request, retries included. 0s = none."),
  backendRequest: duration().optional().describe("Caps each attempt. 0s = none."),
});
export type TimeoutsSpec = z.infer<typeof Timeouts>;

const Retry = z.strictObject({
  codes: z
    .array(z.int().min(400).max(599))
    .max(64)
    .optional()
    .describe("Response statuses that are retried, 400-599. Connection errors are retried too."),
  attempts: z.int().min(1).max(10).optional().describe("Further attempts after the first, 1-10."),
  backoff: duration()
    .optional()
    .describe("Upper bound of the first wait; it doubles with each attempt, with full jitter."),
});
export type RetrySpec = z.infer<typeof Retry>;

const Rule = z.strictObject({
  name: documentName()
    .optional()
    .describe("Name of the rule, unique in the route; shown in logs and metrics."),
  matches: z
    .array(Match)
    .max(64)
    .optional()
    .describe("The rule applies when any of these matches; to every request when absent."),
  filters: z
    .array(HttpRouteFilter)
    .max(16)
    .optional()
    .describe("Changes to requests and responses of the rule."),
  backendRefs: z
    .array(BackendRef)
    .max(16)
    .optional()
    .describe(
      "Where requests go, by weight. Without any, and without a redirect, they are answered with 500.",
    ),
  timeouts: Timeouts.optional().describe("Time limits; those of the service's TrafficPolicy when absent."),
  retry: Retry.optional().describe("Retries; those of the service's TrafficPolicy when absent."),
  sessionPersistence: notSupported(),
});
export type RuleSpec = z.infer<typeof Rule>;

/** `HTTPRoute` of the Gateway API, attached to services (GAMMA), with the fields that this version carries out. */
export const HttpRoute = z.strictObject({
  apiVersion: choice(["gateway.networking.k8s.io/v1", "gateway.networking.k8s.io/v1beta1"]).describe(
    "Version of the Gateway API.",
  ),
  kind: z.literal("HTTPRoute").describe("HTTPRoute."),
  metadata: Metadata.describe("Who the document is."),
  spec: z
    .strictObject({
      ...attachment,
      rules: z
        .array(Rule)
        .max(16)
        .default([{ matches: [{ path: { type: "PathPrefix", value: "/" } }] }])
        .describe("What to do with which request. No match: 404."),
      useDefaultGateways: notSupported(),
    })
    .describe("What the route does."),
  status: z.unknown().optional().describe("Written by Remora; ignored on input."),
});
export type HttpRoute = z.infer<typeof HttpRoute>;
