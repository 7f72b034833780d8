import { concurrencyLimit } from "../policy/concurrency-limit.js";
import { retry, type RetryMeters } from "../policy/retry.js";
import { RetryBudget } from "../policy/retry-budget.js";
import { clusterDefaults } from "../config/cluster-defaults.js";
import type { EndpointConfig } from "../config/snapshot.js";
import type { EndpointTransport } from "../stack/endpoint.js";
import type { RequestContext } from "../stack/request-context.js";
import { stack, type Layer, type Service } from "../stack/service.js";
import type { Upstream } from "../stack/upstream.js";
import type { Counter, Gauge } from "../telemetry/cells.js";
import type { Clock } from "../time/clock.js";
import type { TimerWheel } from "../time/timer-wheel.js";
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
  /** 0 = no limit. */
  readonly maxRequests: number;
  readonly active: Gauge;
  readonly rejected: Counter;
  readonly retryMeters: RetryMeters;
}

/** From the mesh to the local application. */
export function inbound(options: InboundOptions): Service {
  const { clock, wheel, observe, self, maxRequests, active, rejected, retryMeters } = options;
  const budget = new RetryBudget(clusterDefaults.retryBudget);
  return stack(
    [
      // Outermost: what it counts is what the caller saw.
      observe,
      // Nothing above it throws; every error below it becomes a reply.
      rescue,
      canonicalTarget,
      // The caller's identity as the handshake proved it; what the caller wrote about itself comes off.
      inboundHeaders(self),
      ...(maxRequests === 0
        ? []
        : [concurrencyLimit({ scope: "inbound", maxRequests, source: "TrafficPolicy", active, rejected })]),
      // Only what the application provably never saw: it may close a kept-alive connection just as a request is sent.
      retry({ config: undefined, budget, wheel, clock, meters: retryMeters }),
    ],
    toApp(options.app, { key: "app", config: options.appConfig }),
  );
}

function toApp(app: EndpointTransport, upstream: Upstream): Service {
  return {
    call(request: RequestContext, reply) {
      request.clusterName = "local";
      request.attemptAt(upstream);
      return app.call(request, reply);
    },
  };
}
