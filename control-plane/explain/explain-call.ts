import { didYouMean } from "../../src/config/did-you-mean.js";
import type { ClusterConfig, RouteConfig } from "../../src/config/snapshot.js";
import { ConfigError } from "../../src/errors/config-error.js";
import { applyUrlRewrite } from "../../src/policy/url-rewrite.js";
import { RouteTable } from "../../src/route/route-table.js";
import type { RequestHead } from "../../src/traffic/message.js";
import { normalizeTarget, pathEndOf } from "../../src/traffic/path.js";
import { compileSnapshot } from "../compiler/compile.js";
import { identityOf } from "../compiler/compile-cluster.js";
import { compileInbound } from "../compiler/compile-inbound.js";
import { indexMesh, type MeshIndex } from "../compiler/mesh-index.js";
import type { MeshModel } from "../compiler/mesh-model.js";
import { serviceKey, splitServiceKey } from "../compiler/service-name.js";
import { serviceOf } from "../compiler/subset.js";
import { explainAuthorization, type AuthorizationExplanation } from "./explain-authorization.js";

/** A call that somebody asks about. */
export interface AskedCall {
  /** `<service>`, `<service>.<namespace>` or a SPIFFE id. */
  readonly caller: string;
  readonly service: string;
  /** Of names without one. */
  readonly namespace: string;
  readonly method: string;
  /** With a query, if routes look at it. */
  readonly path: string;
  /** Names and values in turn. */
  readonly headers: readonly string[];
}

export interface CallExplanation {
  readonly caller: string;
  readonly service: string;
  readonly method: string;
  /** Canonical. */
  readonly path: string;
  /** What speaks against the question itself: a name that the registry does not have. */
  readonly doubts: readonly string[];
  /** undefined: no route matches, so the caller gets no_route. */
  readonly route: RouteExplanation | undefined;
  readonly backends: readonly BackendExplanation[];
}

export interface RouteExplanation extends Pick<
  RouteConfig,
  "name" | "source" | "timeoutMs" | "attemptTimeoutMs"
> {
  /** Further attempts; undefined = the built-in default. */
  readonly retries: number | undefined;
  /** What happens to the request on its way: fault, redirect, rewrite, mirror, fallback. */
  readonly does: readonly string[];
}

/** Where the request may go. */
export interface BackendExplanation extends Pick<ClusterConfig, "protocol" | "source"> {
  /** Name of the cluster; "" = the document names a service that there is not. */
  readonly cluster: string;
  /** Percent. */
  readonly share: number;
  readonly endpoints: number;
  /** How it is reached. */
  readonly transport: "mtls" | "plaintext" | "mixed";
  /** What its sidecar takes. */
  readonly mtlsMode: string;
  readonly method: string;
  /** As the called side sees it. */
  readonly path: string;
  readonly authorization: AuthorizationExplanation;
}

/**
 * What the mesh would do with a call, by the documents and the registry as they are now. Pure.
 *
 * @throws ConfigError when nobody could make such a call.
 */
export function explainCall(model: MeshModel, asked: AskedCall): CallExplanation {
  const index = indexMesh(model);
  const from = callerOf(index, asked);
  const key = keyOf(asked.service, asked.namespace);
  const target = normalizeTarget(asked.path);
  if (!asked.path.startsWith("/"))
    throw new ConfigError("path does not begin with a slash: write it like /users/1");
  if (target === undefined)
    throw new ConfigError(
      `path ${JSON.stringify(asked.path.slice(0, 200))} can be read in several ways: sidecars refuse it with malformed_request`,
    );
  const { method } = asked;
  const headers = [...asked.headers];
  const head: RequestHead = { method, target, authority: key, version: "1.1", headers, upgrade: "" };
  const snapshot = compileSnapshot(model, {
    ...{ id: "explain", service: from.service, namespace: from.namespace },
    ...{ protocol: "http", upstreams: [key], zone: "" },
  });
  const table = RouteTable.build(snapshot.virtualHosts, (_, route) => route);
  const route = table.byService(key)?.match(head);
  const names = asked.caller.includes("/") ? [key] : [serviceKey(from.service, from.namespace), key];
  const doubts = names.filter((name) => !index.services.has(name)).map((name) => unregistered(index, name));
  const common = { caller: from.id, service: key, method, path: target, doubts };
  if (route === undefined) return { ...common, route: undefined, backends: [] };
  const clusters = new Map(snapshot.clusters.map((cluster) => [cluster.name, cluster]));
  const { action, timeoutMs, attemptTimeoutMs, retry, name, source } = route;
  const limits = {
    ...(timeoutMs !== undefined && { timeoutMs }),
    ...(attemptTimeoutMs !== undefined && { attemptTimeoutMs }),
  };
  const explained = { name, source, ...limits, retries: retry?.attempts, does: doings(route) };
  if (action.type === "redirect") return { ...common, route: explained, backends: [] };
  if (action.rewrite !== undefined) applyUrlRewrite(head, action.rewrite, route.match.path);
  const whole = action.backends.reduce((sum, { weight }) => sum + weight, 0);
  const backends = action.backends.map(({ cluster: name, weight }): BackendExplanation => {
    const cluster = clusters.get(name);
    const endpoints = (snapshot.endpoints.get(name) ?? []).filter(({ isDown }) => isDown !== true);
    const meshed = endpoints.filter((endpoint) => endpoint.meshed).length;
    const inbound = compileInbound(index, serviceOf(name));
    return {
      cluster: name,
      share: whole === 0 ? 0 : Math.round((100 * weight) / whole),
      endpoints: endpoints.length,
      transport: meshed === endpoints.length ? "mtls" : meshed === 0 ? "plaintext" : "mixed",
      protocol: cluster?.protocol ?? "http",
      source: cluster?.source ?? "default",
      mtlsMode: inbound.mtlsMode,
      method,
      path: head.target,
      authorization: explainAuthorization(inbound.authorization ?? { stages: [] }, {
        ...{ principal: from.id, sourceIp: "", port: portOf(index, serviceOf(name)) },
        http: {
          ...{ method, authority: head.authority, headers },
          path: head.target.slice(0, pathEndOf(head.target)),
        },
      }),
    };
  });
  return { ...common, route: explained, backends };
}

function unregistered(index: MeshIndex, name: string): string {
  return `the registry has no service ${name}${didYouMean(name, [...index.services.keys()])}`;
}

function keyOf(name: string, namespace: string): string {
  const parts = splitServiceKey(name, namespace);
  return serviceKey(parts.service, parts.namespace);
}

interface Caller {
  readonly id: string;
  /** Whose routes it has. */
  readonly service: string;
  readonly namespace: string;
}

function callerOf(index: MeshIndex, { caller, namespace }: AskedCall): Caller {
  const ofId = /^spiffe:\/\/[^/]+\/ns\/([^/]+)\/(?:.+\/)?svc\/([^/]+)$/.exec(caller);
  if (ofId !== null) return { id: caller, namespace: ofId[1] ?? "", service: ofId[2] ?? "" };
  if (caller.includes("/"))
    throw new ConfigError(
      `caller ${JSON.stringify(caller.slice(0, 200))} is neither a service nor its SPIFFE id`,
    );
  const parts = splitServiceKey(caller, namespace);
  return { id: identityOf(index, parts.service, parts.namespace), ...parts };
}

/** The application's port, as rules name it; 0 = the registry does not know. */
function portOf(index: MeshIndex, key: string): number {
  return index.services.get(key)?.instances[0]?.port ?? 0;
}

function doings({ action, fault, fallback, requestHeaders, priority }: RouteConfig): readonly string[] {
  const list: string[] = [];
  if (fault !== undefined) list.push("fault injection");
  if (action.type === "redirect") list.push(`redirect with ${action.redirect.status}`);
  else {
    if (action.rewrite !== undefined) list.push("rewrite");
    if (action.mirrors !== undefined) list.push("mirror");
  }
  if (requestHeaders !== undefined) list.push("request headers");
  if (priority !== undefined) list.push("priority");
  if (fallback !== undefined) list.push("fallback");
  return list;
}
