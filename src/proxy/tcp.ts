import { clusterDefaults } from "../config/cluster-defaults.js";
import { ProxyError } from "../errors/proxy-error.js";
import { concurrencyLimit } from "../policy/concurrency-limit.js";
import { retry } from "../policy/retry.js";
import { RetryBudget } from "../policy/retry-budget.js";
import { endedCall, stack, type Layer, type Service } from "../stack/service.js";
import type { Upstream } from "../stack/upstream.js";
import { onlyProvenCallers, silentTunnels, toApp, type InboundOptions } from "./inbound.js";
import { rescue } from "./rescue.js";

/** What is in force now; proxy/data-plane.ts is one. */
export interface TunnelTable {
  tunnelTo(service: string): Service | undefined;
}

/** From the local application to a service that speaks raw TCP. */
export function outboundTcp(plane: TunnelTable, service: string, observe: Layer): Service {
  return stack([observe, rescue], {
    call(request, reply) {
      const tunnel = plane.tunnelTo(service);
      if (tunnel !== undefined) return tunnel.call(request, reply);
      reply.end(new ProxyError("no_route", `service ${service} does not speak tcp any more`));
      return endedCall;
    },
  });
}

/** What goes for requests goes for connections; nothing of theirs can be written to. */
export interface InboundTcpOptions extends Omit<
  InboundOptions,
  "self" | "appConfig" | "rules" | "memory" | "expired"
> {
  readonly upstream: Upstream;
}

/** From the mesh to a local application that speaks raw TCP. */
export function inboundTcp(options: InboundTcpOptions): Service {
  const { clock, wheel, observe, app, upstream, mtlsMode, authorization, maxRequests } = options;
  const { active, rejected } = options;
  const budget = new RetryBudget(clusterDefaults.retryBudget);
  return stack(
    [
      observe,
      rescue,
      onlyProvenCallers(mtlsMode),
      // Before a connection to the application is opened.
      authorization,
      ...(maxRequests === 0
        ? []
        : [concurrencyLimit({ scope: "inbound", maxRequests, source: "TrafficPolicy", active, rejected })]),
      // Inside of the limit: a silent connection takes a place until it is cut.
      silentTunnels(options),
      // An application that is being restarted refuses for a moment.
      retry({ config: undefined, budget, wheel, clock, meters: options.retryMeters }),
    ],
    toApp(app, upstream),
  );
}
