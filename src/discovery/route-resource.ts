import { grpcCodesOf, grpcWordsOf } from "../config/grpc-retry-words.js";
import type { RetryConfig, RouteConfig, VirtualHost } from "../config/snapshot.js";
import { Fields, duration } from "./fields.js";
import { decodeHeaderModifiers, encodeHeaderModifiers } from "./header-modifier.js";
import { decodeForward, decodeRedirect, encodeForward, encodeRedirect } from "./route-action.js";
import { decodeMatch, decodeValueMatch, encodeMatch, encodeValueMatch, methodHeader } from "./route-match.js";
import { packMetadata, wire } from "./wire.js";

const maxInteger = 2 ** 32 - 1;

/**
 * A virtual host as a RouteConfiguration of its own, so that a change of one service's routes sends only these. Time
 * limits and retries belong to a forwarding route; on a redirect they mean nothing and are not carried.
 */
export function encodeRoutes(host: VirtualHost): Buffer {
  const { name, domains } = host;
  return wire.routeConfiguration.encode({
    name,
    virtualHosts: [{ name, domains, routes: host.routes.map(encodeRoute) }],
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

function encodeRoute(route: RouteConfig): object {
  const { name, source, hostnames, action, retry } = route;
  const ours = {
    source,
    hostnames,
    ...(retry !== undefined && { retry: { maxReplayBytes: retry.maxReplayBytes } }),
  };
  return {
    name,
    match: encodeMatch(route.match),
    metadata: packMetadata(wire.remoraRoute, ours),
    ...encodeHeaderModifiers(route.requestHeaders, route.responseHeaders),
    ...(action.type === "redirect"
      ? { redirect: encodeRedirect(action.redirect) }
      : { route: { ...encodeForward(action), ...encodeLimits(route) } }),
  };
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

/** Envoy's words for what every retry configuration retries. */
const statusWords = ["connect-failure", "refused-stream", "retriable-status-codes"];

function encodeRetry(retry: RetryConfig): object {
  // Envoy retries every method if the list is empty; the method "" matches none.
  const methods = retry.methods.length === 0 ? [""] : retry.methods;
  return {
    retryOn: [...statusWords, ...grpcWordsOf(retry.grpcCodes)].join(","),
    numRetries: { value: retry.attempts },
    retriableStatusCodes: retry.codes,
    retriableRequestHeaders: methods.map((value) =>
      encodeValueMatch({ name: methodHeader, type: "exact", value }),
    ),
    retryBackOff: {
      baseInterval: duration(retry.baseBackoffMs),
      maxInterval: duration(retry.maxBackoffMs),
    },
  };
}

function decodeLimits(
  forward: Fields,
  ours: Fields,
): { timeoutMs?: number; attemptTimeoutMs?: number; retry?: RetryConfig } {
  const timeoutMs = forward.durationMs("timeout");
  const policy = forward.message("retryPolicy");
  const ourRetry = ours.optionalMessage("retry");
  return {
    ...(timeoutMs > 0 && { timeoutMs }),
    ...(policy.has("perTryTimeout") && { attemptTimeoutMs: policy.durationMs("perTryTimeout") }),
    ...(ourRetry !== undefined && { retry: decodeRetry(policy, ourRetry) }),
  };
}

function decodeRetry(policy: Fields, ours: Fields): RetryConfig {
  const backoff = policy.message("retryBackOff");
  const methods = policy.messages("retriableRequestHeaders").map(decodeValueMatch);
  const wrong = methods.find(({ name, type }) => name !== methodHeader || type !== "exact");
  if (wrong !== undefined)
    throw policy.error("retriableRequestHeaders", `only exact ${methodHeader} is known`);
  return {
    attempts: policy.wrapped("numRetries", 1),
    codes: policy.integers("retriableStatusCodes", 100, 599),
    grpcCodes: grpcCodesOf(policy.string("retryOn").split(",")),
    methods: methods.map(({ value }) => value).filter((value) => value !== ""),
    baseBackoffMs: backoff.durationMs("baseInterval"),
    maxBackoffMs: backoff.durationMs("maxInterval"),
    maxReplayBytes: ours.number("maxReplayBytes", 0, maxInteger),
  };
}
