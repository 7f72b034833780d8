import type { HashPolicy } from "../config/load-balancer-config.js";
import type { RouteAction, RouteConfig, VirtualHost } from "../config/snapshot.js";
import { decodeFallback, encodeFallback } from "./fallback-resource.js";
import { decodeFault, encodeFault } from "./fault-resource.js";
import { Fields, duration } from "./fields.js";
import { encodeHashPolicy } from "./hash-policy-resource.js";
import { decodeHeaderModifiers, encodeHeaderModifiers } from "./header-modifier.js";
import { decodePriority, encodePriority } from "./priority-resource.js";
import { decodeRetry, encodeOurRetry, encodeRetry } from "./retry-resource.js";
import { decodeForward, decodeRedirect, encodeForward, encodeRedirect } from "./route-action.js";
import { decodeMatch, encodeMatch } from "./route-match.js";
import { packMetadata, wire } from "./wire.js";

/** What makes up the keys of requests to a cluster; undefined when its requests have none. */
export type KeysOf = (cluster: string) => readonly HashPolicy[] | undefined;

/**
 * A virtual host as a RouteConfiguration of its own, so that a change of one service's routes sends only these. Time
 * limits, retries and fallbacks belong to a forwarding route; on a redirect they mean nothing and are not carried.
 *
 * @param keysOf for clients of gRPC, which look for keys in routes. Sidecars have them from the cluster.
 */
export function encodeRoutes(host: VirtualHost, keysOf: KeysOf): Buffer {
  const { name, domains } = host;
  return wire.routeConfiguration.encode({
    name,
    virtualHosts: [{ name, domains, routes: host.routes.map((route) => encodeRoute(route, keysOf)) }],
  });
}

/** Throws ConfigError. */
export function decodeRoutes(bytes: Buffer): VirtualHost {
  const configuration = Fields.decodeNamed(wire.routeConfiguration, bytes, "routes of");
  const host = configuration.onlyMessage("virtualHosts");
  if (host.string("name") !== configuration.string("name")) {
    throw host.error("name", `is ${host.string("name")}`);
  }
  const routes = host.messages("routes").map(decodeRoute);
  return { name: host.string("name"), domains: host.strings("domains"), routes };
}

function encodeRoute(route: RouteConfig, keysOf: KeysOf): object {
  const { name, source, hostnames, action, retry, fallback, fault, priority } = route;
  const limits = encodeOurLimits(route);
  const ours = {
    source,
    hostnames,
    ...(retry !== undefined && { retry: encodeOurRetry(retry) }),
    ...(fallback !== undefined && { fallback: encodeFallback(fallback) }),
    ...(priority !== undefined && { priority: encodePriority(priority) }),
    ...(limits !== undefined && { limits }),
    ...(fault !== undefined && { fault: encodeFault(fault) }),
  };
  return {
    name,
    match: encodeMatch(route.match),
    metadata: packMetadata(wire.remoraRoute, ours),
    ...encodeHeaderModifiers(route.requestHeaders, route.responseHeaders),
    ...(action.type === "redirect"
      ? { redirect: encodeRedirect(action.redirect) }
      : { route: { ...encodeForward(action), ...encodeLimits(route), ...encodeKeys(action, keysOf) } }),
  };
}

/** A route has one list, its backends may have several: the first of them counts. */
function encodeKeys(action: Extract<RouteAction, { type: "forward" }>, keysOf: KeysOf): object {
  const keys = action.backends.map(({ cluster }) => keysOf(cluster)).find((each) => each !== undefined);
  return keys === undefined ? {} : { hashPolicy: keys.map(encodeHashPolicy) };
}

function decodeRoute(fields: Fields): RouteConfig {
  const ours = fields.metadata(wire.remoraRoute);
  const forward = fields.optionalMessage("route");
  return {
    name: fields.requiredString("name"),
    source: ours.string("source"),
    hostnames: ours.strings("hostnames"),
    match: decodeMatch(fields.message("match")),
    action: forward === undefined ? decodeRedirect(fields.message("redirect")) : decodeForward(forward),
    ...decodeHeaderModifiers(fields),
    ...(forward !== undefined && decodeLimits(forward, ours)),
  };
}

function encodeLimits({ timeoutMs, attemptTimeoutMs, retry }: RouteConfig): object {
  return {
    // An absent timeout is 15 s to Envoy; 0 is none.
    timeout: duration(timeoutMs ?? 0),
    retryPolicy: {
      retryOn: "connect-failure,refused-stream",
      numRetries: { value: 1 },
      ...(attemptTimeoutMs !== undefined && { perTryTimeout: duration(attemptTimeoutMs) }),
      ...(retry !== undefined && encodeRetry(retry)),
    },
  };
}

/** undefined when the route has none of them. */
function encodeOurLimits({ streamIdleMs, limitSources }: RouteConfig): object | undefined {
  if (streamIdleMs === undefined && limitSources === undefined) return undefined;
  const { request, attempt, streamIdle } = limitSources ?? {};
  return {
    ...(streamIdleMs !== undefined && { streamIdle: duration(streamIdleMs) }),
    ...(request !== undefined && { requestSource: request }),
    ...(attempt !== undefined && { attemptSource: attempt }),
    ...(streamIdle !== undefined && { streamIdleSource: streamIdle }),
  };
}

type Limits = Pick<
  RouteConfig,
  | "timeoutMs"
  | "attemptTimeoutMs"
  | "streamIdleMs"
  | "limitSources"
  | "retry"
  | "fallback"
  | "fault"
  | "priority"
>;

function decodeLimits(forward: Fields, ours: Fields): Limits {
  const timeoutMs = forward.durationMs("timeout");
  const policy = forward.message("retryPolicy");
  const ourRetry = ours.optionalMessage("retry");
  const ourLimits = ours.optionalMessage("limits");
  const fallback = ours.optionalMessage("fallback");
  const priority = ours.optionalMessage("priority");
  const fault = ours.optionalMessage("fault");
  return {
    ...(timeoutMs > 0 && { timeoutMs }),
    ...(policy.has("perTryTimeout") && { attemptTimeoutMs: policy.durationMs("perTryTimeout") }),
    ...(ourLimits !== undefined && decodeOurLimits(ourLimits)),
    ...(ourRetry !== undefined && { retry: decodeRetry(policy, ourRetry) }),
    ...(fallback !== undefined && { fallback: decodeFallback(fallback) }),
    ...(priority !== undefined && { priority: decodePriority(priority) }),
    ...(fault !== undefined && { fault: decodeFault(fault) }),
  };
}

function decodeOurLimits(ours: Fields): Pick<Limits, "streamIdleMs" | "limitSources"> {
  const source = <N extends string>(name: N, field: string): { [K in N]?: string } => {
    const text = ours.string(field);
    return text === "" ? {} : ({ [name]: text } as { [K in N]?: string });
  };
  const limitSources = {
    ...source("request", "requestSource"),
    ...source("attempt", "attemptSource"),
    ...source("streamIdle", "streamIdleSource"),
  };
  return {
    ...(ours.has("streamIdle") && { streamIdleMs: ours.durationMs("streamIdle") }),
    ...(Object.keys(limitSources).length > 0 && { limitSources }),
  };
}
