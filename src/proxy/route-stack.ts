import { retryDefaults } from "../config/cluster-defaults.js";
import { fallbackCauses, type FallbackConfig } from "../config/fallback-config.js";
import type { FaultConfig } from "../config/fault-config.js";
import type { MirrorConfig } from "../config/mirror-config.js";
import { fallback, type FallbackAnswer } from "../policy/fallback.js";
import { fault } from "../policy/fault.js";
import { hedge } from "../policy/hedge.js";
import { mirror } from "../policy/mirror.js";
import { compileMatch } from "../route/matcher.js";
import { checkHeaderModifier } from "../policy/header-modifier.js";
import { outboundPriority } from "../policy/priority.js";
import { redirectFor } from "../policy/redirect.js";
import { retry } from "../policy/retry.js";
import { streamIdle } from "../policy/stream-idle.js";
import { attemptTimeout, routeTimeout } from "../policy/timeouts.js";
import { applyUrlRewrite, checkUrlRewrite } from "../policy/url-rewrite.js";
import type {
  PathMatch,
  RedirectConfig,
  RouteConfig,
  UrlRewrite,
  WeightedCluster,
} from "../config/snapshot.js";
import { serverTimeouts } from "../stack/server-timeouts.js";
import { endedCall, stack, type Layer, type Service } from "../stack/service.js";
import type { Clock } from "../time/clock.js";
import type { TimerWheel } from "../time/timer-wheel.js";
import type { Cluster } from "./cluster.js";
import { attemptAt } from "./cluster-failover.js";
import { headerModifiers } from "./header-layers.js";
import type { PolicyStates } from "./policy-states.js";
import { weightedBackends } from "./weighted-backends.js";

/** What a copy has where the route has no limit: nobody waits for it, so nobody would end it. */
const mirrorTimeoutMs = 30_000;

export interface RouteStackOptions {
  readonly clock: Clock;
  readonly wheel: TimerWheel;
  /** undefined: no such cluster. */
  readonly cluster: (name: string) => Cluster | undefined;
  /** What policies remember between two snapshots. */
  readonly policies: PolicyStates;
  /** Name of the virtual host: names of routes are unique in it. */
  readonly scope: string;
}

/** Everything that one route does with a request, composed once per snapshot. Throws ConfigError for what cannot be sent. */
export function routeStack(route: RouteConfig, options: RouteStackOptions): Service {
  const { requestHeaders, responseHeaders, action, timeoutMs, priority, streamIdleMs, limitSources, source } =
    route;
  if (requestHeaders !== undefined) checkHeaderModifier(requestHeaders, source);
  if (responseHeaders !== undefined) checkHeaderModifier(responseHeaders, source);
  if (route.fallback !== undefined) checkFallback(route.fallback);
  if (action.type === "redirect") checkUrlRewrite(action.redirect, source);
  else if (action.rewrite !== undefined) checkUrlRewrite(action.rewrite, source);
  const common = [
    // The name of the route is what metrics and the access log know the request by.
    named(route.name),
    // Route-wide changes come before those of a backend: the nearer one has the last word.
    ...headerModifiers(requestHeaders, responseHeaders),
  ];
  if (action.type === "redirect") return stack(common, redirector(action.redirect, route.match.path));
  const { wheel, clock } = options;
  return stack(
    [
      ...common,
      ...(action.rewrite === undefined ? [] : [rewriter(action.rewrite, route.match.path)]),
      // Outside of what makes good, and of the route's time: the caller is put to the test.
      ...(route.fault === undefined ? [] : [faultOf(route.fault, options)]),
      // Outside of time limits and retries: it answers what they could not make good.
      ...(route.fallback === undefined ? [] : [fallbackOf(route, route.fallback, options)]),
      // Once for all attempts: what comes below treats requests by their class.
      ...(priority === undefined ? [] : [outboundPriority(priority)]),
      // Outside of retries: a request is copied once. Inside of the fallback, whose answers need no copy.
      ...mirrorsOf(route, action.mirrors ?? [], options),
      // Outside of retry: it caps all attempts and the pauses between them.
      ...(timeoutMs === undefined || timeoutMs === 0
        ? []
        : [routeTimeout({ timeoutMs, source: limitSources?.request ?? source, wheel })]),
      // Beside it: silence is what the caller hears, whichever attempt is under way.
      ...(streamIdleMs === undefined
        ? []
        : [
            streamIdle({
              idle: { idleMs: streamIdleMs, source: limitSources?.streamIdle ?? source },
              wheel,
              clock,
            }),
          ]),
    ],
    weightedBackends(
      route.source,
      action.backends.map((backend) => ({
        weight: backend.weight,
        service: backendStack(route, backend, options),
      })),
      clock,
    ),
  );
}

function fallbackOf(route: RouteConfig, config: FallbackConfig, options: RouteStackOptions): Layer {
  const { clock, policies, scope } = options;
  const { action, source, on } = config;
  const kind = action.type === "cached" ? "stale" : action.type;
  const meters = policies.metrics.fallback(source, kind, fallbackCauses);
  const layer = (answer: FallbackAnswer): Layer => fallback({ on: new Set(on), answer, clock, meters });
  switch (action.type) {
    case "reply":
      return layer({ type: "reply", reply: action.reply });
    case "cached": {
      const cache = policies.replyCache(source, action.cached);
      return layer({ type: "stale", cache, scope: `${scope} ${route.name}` });
    }
    case "service": {
      const service = otherService(route, action.cluster, options);
      if (service === undefined) return (inner) => inner;
      return layer({ type: "service", service, maxReplayBytes: retryDefaults.maxReplayBytes });
    }
  }
}

/** A service that answers in place of the route's backends, within the same time limit; undefined: it is not known. */
function otherService(
  { timeoutMs, source }: RouteConfig,
  name: string,
  { cluster, wheel, clock }: RouteStackOptions,
): Service | undefined {
  const other = name === "" ? undefined : cluster(name);
  if (other === undefined) return undefined;
  const { budget, retryPlaces: places, meters } = other;
  return stack(
    [
      ...(timeoutMs === undefined || timeoutMs === 0 ? [] : [routeTimeout({ timeoutMs, source, wheel })]),
      inCluster(name),
      // Only what its instances provably never saw is sent again.
      retry({ config: undefined, budget, places, wheel, clock, meters }),
    ],
    other.service,
  );
}

function faultOf(config: FaultConfig, { clock, wheel, policies }: RouteStackOptions): Layer {
  const { headers, source } = config;
  const conditions = compileMatch({ path: { type: "prefix", value: "/" }, headers, query: [] }, source);
  return fault({
    config,
    matches: (head) => conditions.every((condition) => condition(head, head.target.length)),
    ...{ clock, wheel },
    held: policies.metrics.faultsHeld(),
    meters: policies.metrics.fault(source),
    onExpired: () => policies.faultExpired(config),
  });
}

/** A copy takes at most as long as the route allows its requests. */
function mirrorsOf(
  { name, timeoutMs, source }: RouteConfig,
  mirrors: readonly MirrorConfig[],
  { cluster, clock, wheel, policies }: RouteStackOptions,
): readonly Layer[] {
  const targets = mirrors.flatMap(({ cluster: target, perMillion }) => {
    const found = cluster(target);
    if (found === undefined) return [];
    const limit = { timeoutMs: timeoutMs ?? mirrorTimeoutMs, source, wheel };
    const service = stack([routeTimeout(limit), inCluster(target)], found.service);
    return [{ service, perMillion, meters: policies.metrics.mirror(target) }];
  });
  return targets.length === 0 ? [] : [mirror({ targets, routeName: name, clock })];
}

function hedgeOf(cluster: Cluster, { clock, wheel, policies }: RouteStackOptions): readonly Layer[] {
  const { hedging, config } = cluster;
  if (hedging === undefined || config.hedge === undefined) return [];
  const { budget, latency } = hedging;
  const meters = policies.metrics.hedge(config.name);
  const endpoints = (): number => cluster.endpoints.length;
  return [hedge({ config: config.hedge, budget, latency, endpoints, clock, wheel, meters })];
}

function checkFallback({ action, source }: FallbackConfig): void {
  if (action.type !== "reply" || action.reply.http === undefined) return;
  checkHeaderModifier({ set: action.reply.http.headers, add: [], remove: [] }, source);
}

function backendStack(
  route: RouteConfig,
  backend: WeightedCluster,
  options: RouteStackOptions,
): Service | undefined {
  const cluster = backend.cluster === "" ? undefined : options.cluster(backend.cluster);
  if (cluster === undefined) return undefined;
  const { wheel, clock } = options;
  const { attemptTimeoutMs, streamIdleMs, limitSources, source } = route;
  return stack(
    [
      inCluster(backend.cluster),
      ...headerModifiers(backend.requestHeaders, backend.responseHeaders),
      // Outside of hedge and retry: a request with all its attempts is one call of the service.
      ...(cluster.guard === undefined ? [] : [cluster.guard]),
      // Outside of retry: each attempt has its own.
      ...hedgeOf(cluster, options),
      // The budget is the cluster's: retries of all routes to it share one allowance.
      retry({
        config: route.retry,
        budget: cluster.budget,
        places: cluster.retryPlaces,
        wheel,
        clock,
        meters: cluster.meters,
        silenceMs: streamIdleMs ?? serverTimeouts.streamIdleMs,
      }),
      // Inside of retry: each attempt has its own time.
      ...(attemptTimeoutMs === undefined || attemptTimeoutMs === 0
        ? []
        : [attemptTimeout({ timeoutMs: attemptTimeoutMs, source: limitSources?.attempt ?? source, wheel })]),
    ],
    attemptAt(cluster, options),
  );
}

function named(name: string): Layer {
  return (inner) => ({
    call(request, reply) {
      request.routeName = name;
      return inner.call(request, reply);
    },
  });
}

/** Notes the cluster for metrics and the access log. */
export function inCluster(name: string): Layer {
  return (inner) => ({
    call(request, reply) {
      request.clusterName = name;
      return inner.call(request, reply);
    },
  });
}

function rewriter(rewrite: UrlRewrite, matched: PathMatch): Layer {
  return (inner) => ({
    call(request, reply) {
      applyUrlRewrite(request.head, rewrite, matched);
      return inner.call(request, reply);
    },
  });
}

function redirector(redirect: RedirectConfig, matched: PathMatch): Service {
  return {
    call(request, reply) {
      const { status, location } = redirectFor(request.head, redirect, matched);
      const headers = ["location", location, "content-length", "0"];
      reply.head({ status, reason: "", version: "1.1", headers }, null);
      reply.end(null);
      return endedCall;
    },
  };
}
