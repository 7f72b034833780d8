import { ProxyError } from "../errors/proxy-error.js";
import { deadline } from "../policy/deadline.js";
import { recallOrigin, type RequestMemory } from "../policy/request-memory.js";
import type { RequestContext } from "../stack/request-context.js";
import { endedCall, stack, type Layer, type Reply, type Service } from "../stack/service.js";
import type { Counter } from "../telemetry/cells.js";
import type { TimerWheel } from "../time/timer-wheel.js";
import { normalizeTarget } from "../traffic/path.js";
import type { DataPlane } from "./data-plane.js";
import { outboundHeaders } from "./identity-headers.js";
import { rescue } from "./rescue.js";

export interface OutboundOptions {
  readonly plane: DataPlane;
  /** Names this sidecar in the loop mark. */
  readonly node: string;
  readonly observe: Layer;
  readonly wheel: TimerWheel;
  /** Of the inbound requests that the application is working on. */
  readonly memory: RequestMemory;
  /** Requests whose caller's time was over when they came. */
  readonly expired: Counter;
  /** Set for a local port that stands for one service; undefined for the port that routes by Host. */
  readonly service: string | undefined;
}

/** From the local application to the mesh. */
export function outbound(options: OutboundOptions): Service {
  const { plane, node, service, wheel, memory, expired } = options;
  return stack(
    [
      // Outermost: what it counts is what the application saw.
      options.observe,
      // Nothing above it throws; every error below it becomes a reply.
      rescue,
      // Decide and forward on one and the same path.
      canonicalTarget,
      outboundHeaders(node),
      // What the application is asked by its own callers holds for what it asks of others.
      recallOrigin(memory),
      // Outside of the routes: the caller's time holds whatever they allow.
      deadline({ wheel, graceMs: 0, expired }),
    ],
    service === undefined ? routeByHost(plane) : routeByPort(plane, service),
  );
}

/** Refuses targets that servers read in different ways, and rewrites what has one plain meaning. */
export const canonicalTarget: Layer = (inner) => ({
  call(request, reply) {
    const target = normalizeTarget(request.head.target);
    if (target === undefined) return refuse(reply, new ProxyError("malformed_request", "ambiguous path"));
    request.head.target = target;
    return inner.call(request, reply);
  },
});

function routeByHost(plane: DataPlane): Service {
  return {
    call(request, reply) {
      const { table } = plane;
      if (table === undefined) return refuse(reply, notReady());
      const route = table.byHost(request.head);
      if (route !== undefined) return route.call(request, reply);
      const { authority } = request.head;
      const reason = table.knowsHost(authority)
        ? noMatch(request)
        : `no service answers to host ${authority}`;
      return refuse(reply, new ProxyError("no_route", reason));
    },
  };
}

function routeByPort(plane: DataPlane, service: string): Service {
  return {
    call(request, reply) {
      const { table } = plane;
      if (table === undefined) return refuse(reply, notReady());
      const virtualHost = table.byService(service);
      if (virtualHost === undefined)
        return refuse(reply, new ProxyError("no_route", `service ${service} is not known`));
      const route = virtualHost.match(request.head);
      return route === undefined
        ? refuse(reply, new ProxyError("no_route", noMatch(request)))
        : route.call(request, reply);
    },
  };
}

function noMatch({ head }: RequestContext): string {
  const path = head.target.split("?", 1)[0];
  return `no rule matches ${head.method} ${path} for host ${head.authority}`;
}

function notReady(): ProxyError {
  return new ProxyError("not_ready", "the control plane has sent no configuration yet");
}

function refuse(reply: Reply, error: ProxyError): typeof endedCall {
  reply.end(error);
  return endedCall;
}
