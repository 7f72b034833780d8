import { z } from "zod";
import { choice, notSupported, port } from "./field.js";
import { HeaderModifierSpec } from "./header-modifier.js";
import { RequestMirror, type RequestMirrorSpec } from "./request-mirror.js";

const absolutePath = () =>
  z
    .string()
    .max(1024)
    // A control character or space would end the request target (RFC 9112 §3).
    .regex(/^\/[!-"$-~]*$/, {
      error: "must begin with / and contain only visible ASCII characters other than #",
    });

/** A host name without port; not an IP address and not a wildcard (Gateway API PreciseHostname). */
export const preciseHostname = () =>
  z
    .string()
    .max(253)
    .regex(/^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$/, {
      error: "must be a host name in lower case, without port",
    })
    .refine((host) => !/^[0-9.]+$/.test(host), { error: "must be a host name, not an IP address" });

/** Gateway API HTTPPathModifier. */
export const PathModifier = z.strictObject({
  type: choice(["ReplaceFullPath", "ReplacePrefixMatch"]).describe(
    "ReplaceFullPath replaces all of the path, ReplacePrefixMatch the part that the PathPrefix match named.",
  ),
  replaceFullPath: absolutePath()
    .optional()
    .describe("The new path, with type ReplaceFullPath. The query is kept."),
  replacePrefixMatch: z
    .string()
    .max(1024)
    .regex(/^(\/[!-"$-~]*)?$/, {
      error: "must be empty, or begin with / and contain only visible ASCII characters",
    })
    .optional()
    .describe("The new prefix, with type ReplacePrefixMatch."),
});
export type PathModifier = z.infer<typeof PathModifier>;

const RequestRedirect = z.strictObject({
  scheme: choice(["http", "https"])
    .optional()
    .describe("Scheme of the Location; that of the request when absent."),
  hostname: preciseHostname().optional().describe("Host of the Location; that of the request when absent."),
  path: PathModifier.optional().describe("Path of the Location; that of the request when absent."),
  port: port().optional().describe("Port of the Location; the well-known one of the scheme when absent."),
  statusCode: z
    .literal([301, 302, 303, 307, 308], { error: "must be 301, 302, 303, 307 or 308" })
    .default(302)
    .describe("Status of the redirect."),
});
export type RequestRedirect = z.infer<typeof RequestRedirect>;

const UrlRewrite = z.strictObject({
  hostname: preciseHostname().optional().describe("Host that the backend sees."),
  path: PathModifier.optional().describe("Path that the backend sees."),
});
export type UrlRewriteSpec = z.infer<typeof UrlRewrite>;

const laterTypes = ["CORS", "ExtensionRef", "ExternalAuth"] as const;

/** Gateway API HTTPRouteFilter: `type` names which one of the other fields is set. */
export const HttpRouteFilter = z.strictObject({
  type: choice(
    ["RequestHeaderModifier", "ResponseHeaderModifier", "RequestRedirect", "URLRewrite", "RequestMirror"],
    laterTypes,
  ).describe("Which filter this is; the field of the same name holds it."),
  requestHeaderModifier: HeaderModifierSpec.optional().describe("Changes headers of the request."),
  responseHeaderModifier: HeaderModifierSpec.optional().describe("Changes headers of the response."),
  requestRedirect: RequestRedirect.optional().describe(
    "Answers with a redirect; the rule then has no backendRefs.",
  ),
  urlRewrite: UrlRewrite.optional().describe("Changes host or path on the way to the backend."),
  requestMirror: RequestMirror.optional().describe("Sends copies of requests to another service."),
  cors: notSupported(),
  extensionRef: notSupported(),
  externalAuth: notSupported(),
});
export type HttpRouteFilter = z.infer<typeof HttpRouteFilter>;

/** A filter of one backendRef: header modifiers only. */
export const BackendFilter = z.strictObject({
  type: choice(
    ["RequestHeaderModifier", "ResponseHeaderModifier"],
    ["RequestRedirect", "URLRewrite", "RequestMirror", ...laterTypes],
  ).describe("Which filter this is; the field of the same name holds it."),
  requestHeaderModifier: HeaderModifierSpec.optional().describe(
    "Changes headers of requests to this backend.",
  ),
  responseHeaderModifier: HeaderModifierSpec.optional().describe(
    "Changes headers of responses of this backend.",
  ),
  requestRedirect: notSupported("a redirect stands in the rule's own filters"),
  urlRewrite: notSupported("a rewrite stands in the rule's own filters"),
  requestMirror: notSupported("a mirror stands in the rule's own filters"),
  cors: notSupported(),
  extensionRef: notSupported(),
  externalAuth: notSupported(),
});
export type BackendFilter = z.infer<typeof BackendFilter>;

/** What the filters of every kind of route and of its backends come to: none has more than these. */
export interface RouteFilter {
  readonly type: HttpRouteFilter["type"];
  readonly requestHeaderModifier?: HeaderModifierSpec | undefined;
  readonly responseHeaderModifier?: HeaderModifierSpec | undefined;
  readonly requestRedirect?: RequestRedirect | undefined;
  readonly urlRewrite?: UrlRewriteSpec | undefined;
  readonly requestMirror?: RequestMirrorSpec | undefined;
}
