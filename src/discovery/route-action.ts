import type {
  PathRewrite,
  RedirectConfig,
  RouteAction,
  UrlRewrite,
  WeightedCluster,
} from "../config/snapshot.js";
import type { Fields } from "./fields.js";
import { decodeHeaderModifiers, encodeHeaderModifiers } from "./header-modifier.js";
import { decodeMirrors, encodeMirrors } from "./mirror-resource.js";

/** Stands for the cluster "": Envoy refuses an empty name. Clusters have a dot in their names, so none is called so. */
const noBackend = "no-backend";

const redirectCodes = {
  301: "MOVED_PERMANENTLY",
  302: "FOUND",
  303: "SEE_OTHER",
  307: "TEMPORARY_REDIRECT",
  308: "PERMANENT_REDIRECT",
} as const;

/** The fields of Envoy's RouteAction that say where to; time limits and retries are added by the caller. */
export function encodeForward(action: Extract<RouteAction, { type: "forward" }>): object {
  return {
    ...encodeBackends(action.backends),
    ...encodeRewrite(action.rewrite),
    ...encodeMirrors(action.mirrors),
  };
}

export function decodeForward(fields: Fields): RouteAction {
  const rewrite = decodeRewrite(fields);
  const mirrors = decodeMirrors(fields);
  return {
    type: "forward",
    backends: decodeBackends(fields),
    ...(rewrite !== undefined && { rewrite }),
    ...(mirrors !== undefined && { mirrors }),
  };
}

export function encodeRedirect({ scheme, hostname, port, path, status }: RedirectConfig): object {
  return {
    ...(scheme !== undefined && { schemeRedirect: scheme }),
    ...(hostname !== undefined && { hostRedirect: hostname }),
    ...(port !== undefined && { portRedirect: port }),
    ...(path !== undefined &&
      (path.type === "full" ? { pathRedirect: path.value } : { prefixRewrite: path.value })),
    responseCode: redirectCodes[status],
  };
}

export function decodeRedirect(fields: Fields): RouteAction {
  const hostname = fields.optionalString("hostRedirect");
  const full = fields.optionalString("pathRedirect");
  const prefix = fields.optionalString("prefixRewrite");
  const code = fields.oneOf("responseCode", Object.values(redirectCodes), "MOVED_PERMANENTLY");
  const status = ([301, 302, 303, 307, 308] as const).find((each) => redirectCodes[each] === code) ?? 301;
  const redirect: RedirectConfig = {
    ...(fields.has("schemeRedirect") && { scheme: fields.oneOf("schemeRedirect", ["http", "https"]) }),
    ...(hostname !== undefined && { hostname }),
    ...(fields.has("portRedirect") && { port: fields.number("portRedirect", 1, 65_535) }),
    ...pathOf(full, prefix),
    status,
  };
  return { type: "redirect", redirect };
}

function encodeBackends(backends: readonly WeightedCluster[]): object {
  const [first] = backends;
  const isPlain =
    backends.length === 1 &&
    first?.weight === 1 &&
    first.requestHeaders === undefined &&
    first.responseHeaders === undefined;
  if (isPlain) return { cluster: first.cluster || noBackend };
  const clusters = backends.map(({ cluster, weight, requestHeaders, responseHeaders }) => ({
    name: cluster || noBackend,
    weight: { value: weight },
    ...encodeHeaderModifiers(requestHeaders, responseHeaders),
  }));
  return { weightedClusters: { clusters } };
}

function decodeBackends(fields: Fields): WeightedCluster[] {
  if (fields.has("cluster")) return [{ cluster: clusterName(fields.requiredString("cluster")), weight: 1 }];
  const clusters = fields.message("weightedClusters").messages("clusters");
  return clusters.map((each) => ({
    cluster: clusterName(each.requiredString("name")),
    weight: each.wrapped("weight", 0),
    ...decodeHeaderModifiers(each),
  }));
}

function clusterName(text: string): string {
  return text === noBackend ? "" : text;
}

/** An empty rewrite is none. */
function encodeRewrite(rewrite: UrlRewrite | undefined): object {
  const { hostname, path } = rewrite ?? {};
  // RE2 substitutions escape with a backslash.
  const whole = { pattern: { regex: "^.*$" }, substitution: path?.value.replaceAll("\\", "\\\\") };
  return {
    ...(hostname !== undefined && { hostRewriteLiteral: hostname }),
    ...(path?.type === "full" && { regexRewrite: whole }),
    ...(path?.type === "prefix" && { prefixRewrite: path.value }),
  };
}

function decodeRewrite(fields: Fields): UrlRewrite | undefined {
  const hostname = fields.optionalString("hostRewriteLiteral");
  const regex = fields.optionalMessage("regexRewrite");
  const full = regex?.string("substitution").replaceAll("\\\\", "\\");
  const prefix = fields.optionalString("prefixRewrite");
  if (hostname === undefined && full === undefined && prefix === undefined) return undefined;
  return { ...(hostname !== undefined && { hostname }), ...pathOf(full, prefix) };
}

function pathOf(full: string | undefined, prefix: string | undefined): { path?: PathRewrite } {
  if (full !== undefined) return { path: { type: "full", value: full } };
  return prefix === undefined ? {} : { path: { type: "prefix", value: prefix } };
}
