import { concurrencyLimit } from "../policy/concurrency-limit.js";
import { calledSideGraceMs, deadline } from "../policy/deadline.js";
import { grpcUpstream } from "../policy/grpc-upstream.js";
import { retry, type RetryMeters } from "../policy/retry.js";
import { rememberRequests, type RequestMemory } from "../policy/request-memory.js";
import { RetryBudget } from "../policy/retry-budget.js";
import { tunnelIdle } from "../policy/tunnel-idle.js";
import { clusterDefaults } from "../config/cluster-defaults.js";
import type { EndpointConfig, MtlsMode } from "../config/snapshot.js";
import type { StreamIdleConfig } from "../config/stream-idle-config.js";
import { ProxyError } from "../errors/proxy-error.js";
import type { EndpointTransport } from "../stack/endpoint.js";
import type { RequestContext } from "../stack/request-context.js";
import { endedCall, stack, type Layer, type Service } from "../stack/service.js";
import type { Upstream } from "../stack/upstream.js";
import type { Counter, Gauge } from "../telemetry/cells.js";
import type { Clock } from "../time/clock.js";
import type { TimerWheel } from "../time/timer-wheel.js";
import { ApplicationReply } from "./application-reply.js";
import { inboundHeaders } from "./identity-headers.js";
import { canonicalTarget } from "./outbound.js";
import { rescue } from "./rescue.js";

export interface InboundOptions {
  readonly clock: Clock;
  readonly wheel: TimerWheel;
  readonly observe: Layer;
  /** Our own SPIFFE id. */
  readonly self: string;
  /** The local application. */
  readonly app: EndpointTransport;
  readonly appConfig: EndpointConfig;
  /** Who may do what. */
  readonly authorization: Layer;
  /** What policies ask for, by the rule that a request matches. */
  readonly rules: Layer;
  /** Read for every request. */
  readonly mtlsMode: () => MtlsMode;
  /** 0 = no limit. */
  readonly maxRequests: number;
  /** Silence of tunnels, by a document; absent: the default. */
  readonly tunnelIdle?: StreamIdleConfig | undefined;
  /** Takes the place of `maxRequests`: turns away by class. Absent: whoever comes when `maxRequests` are under way. */
  readonly shedding?: Layer | undefined;
  readonly active: Gauge;
  readonly rejected: Counter;
  readonly retryMeters: RetryMeters;
  /** Absent: the application calls nobody through the mesh. */
  readonly memory?: RequestMemory | undefined;
  /** Requests whose caller's time was over when they came. */
  readonly expired: Counter;
}

/** From the mesh to the local application. */
export function inbound(options: InboundOptions): Service {
  const { clock, wheel, observe, self, authorization, rules, mtlsMode, maxRequests } = options;
  const { active, rejected } = options;
  const { retryMeters, memory, expired } = options;
  const budget = new RetryBudget(clusterDefaults.retryBudget);
  return stack(
    [
      // Outermost: what it counts is what the caller saw.
      observe,
      // Nothing above it throws; every error below it becomes a reply.
      rescue,
      // A kept-alive plaintext connection may be older than the policy that forbids it.
      onlyProvenCallers(mtlsMode),
      canonicalTarget,
      // The caller's identity as the handshake proved it; what the caller wrote about itself comes off.
      inboundHeaders(self),
      // On the path that is forwarded, and before anything is spent on the request.
      authorization,
      // Outside of what may refuse or repeat: the caller's time runs from the first byte on.
      deadline({ wheel, graceMs: calledSideGraceMs, expired }),
      // Inside of it, so that the deadline is known: what the application asks of others meanwhile is part of the request.
      ...(memory === undefined ? [] : [rememberRequests(memory)]),
      // Once per request: what is refused here takes no place at the application.
      rules,
      // Last before the application: what others turn away or answer is no load.
      ...(options.shedding !== undefined
        ? [options.shedding]
        : maxRequests === 0
          ? []
          : [concurrencyLimit({ scope: "inbound", maxRequests, source: "TrafficPolicy", active, rejected })]),
      silentTunnels(options),
      // Only what the application provably never saw: it may close a kept-alive connection just as a request is sent.
      retry({ config: undefined, budget, wheel, clock, meters: retryMeters }),
      // Inside of retry: each attempt is told the time that is left by then.
      grpcUpstream(clock),
    ],
    toApp(options.app, { key: "app", config: options.appConfig }),
  );
}

/**
 * Cuts tunnels that nobody uses: callers need not be sidecars. One that is cuts first, by the same document, and tells its
 * application why.
 */
export function silentTunnels({
  tunnelIdle: limit = { idleMs: clusterDefaults.tunnelIdleMs, source: "default" },
  wheel,
  clock,
}: Pick<InboundOptions, "tunnelIdle" | "wheel" | "clock">): Layer {
  return tunnelIdle({ ...limit, graceMs: calledSideGraceMs, wheel, clock });
}

/** Under STRICT, whoever came without a certificate is turned away. */
export function onlyProvenCallers(mtlsMode: () => MtlsMode): Layer {
  return (inner) => ({
    call(request, reply) {
      if (request.peerId !== undefined || mtlsMode() !== "STRICT") return inner.call(request, reply);
      reply.end(
        new ProxyError("denied", "mtls mode=STRICT: only callers with a mesh certificate are served"),
      );
      return endedCall;
    },
  });
}

/** The end of the inbound stack. */
export function toApp(app: EndpointTransport, upstream: Upstream): Service {
  return {
    call(request: RequestContext, reply) {
      request.clusterName = "local";
      request.attemptAt(upstream);
      return app.call(request, new ApplicationReply(reply));
    },
  };
}
