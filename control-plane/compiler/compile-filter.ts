import type { HeaderModifierSpec } from "../../src/config/documents/header-modifier.js";
import type {
  PathModifier,
  RequestRedirect,
  RouteFilter,
  UrlRewriteSpec,
} from "../../src/config/documents/http-route-filter.js";
import type { HeaderModifier, PathRewrite, RedirectConfig, UrlRewrite } from "../../src/config/snapshot.js";

/** What the filters of a rule or of a backend come to. */
export interface CompiledFilters {
  readonly headers: {
    readonly requestHeaders?: HeaderModifier;
    readonly responseHeaders?: HeaderModifier;
  };
  readonly redirect: RedirectConfig | undefined;
  readonly rewrite: UrlRewrite | undefined;
}

/** Turns filters into the snapshot's form. The schema and checkFilters have seen to it that no type stands twice. */
export function compileFilters(filters: readonly RouteFilter[] | undefined): CompiledFilters {
  let request: HeaderModifierSpec | undefined;
  let response: HeaderModifierSpec | undefined;
  let redirect: RequestRedirect | undefined;
  let rewrite: UrlRewriteSpec | undefined;
  for (const filter of filters ?? []) {
    request ??= filter.requestHeaderModifier;
    response ??= filter.responseHeaderModifier;
    redirect ??= filter.requestRedirect;
    rewrite ??= filter.urlRewrite;
  }
  return {
    headers: {
      ...(request === undefined ? {} : { requestHeaders: modifierOf(request) }),
      ...(response === undefined ? {} : { responseHeaders: modifierOf(response) }),
    },
    redirect: redirect === undefined ? undefined : redirectOf(redirect),
    rewrite: rewrite === undefined ? undefined : rewriteOf(rewrite),
  };
}

function modifierOf(spec: HeaderModifierSpec): HeaderModifier {
  const pairs = (fields: HeaderModifierSpec["set"]) =>
    (fields ?? []).map(({ name, value }) => [name, value] as const);
  return {
    set: pairs(spec.set),
    add: pairs(spec.add),
    remove: (spec.remove ?? []).map((name) => name.toLowerCase()),
  };
}

function redirectOf(spec: RequestRedirect): RedirectConfig {
  return {
    ...(spec.scheme === undefined ? {} : { scheme: spec.scheme }),
    ...(spec.hostname === undefined ? {} : { hostname: spec.hostname }),
    ...(spec.port === undefined ? {} : { port: spec.port }),
    ...(spec.path === undefined ? {} : { path: pathOf(spec.path) }),
    status: spec.statusCode,
  };
}

function rewriteOf(spec: UrlRewriteSpec): UrlRewrite {
  return {
    ...(spec.hostname === undefined ? {} : { hostname: spec.hostname }),
    ...(spec.path === undefined ? {} : { path: pathOf(spec.path) }),
  };
}

function pathOf(spec: PathModifier): PathRewrite {
  return spec.type === "ReplaceFullPath"
    ? { type: "full", value: spec.replaceFullPath ?? "/" }
    : { type: "prefix", value: spec.replacePrefixMatch ?? "" };
}
