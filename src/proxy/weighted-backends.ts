import { ProxyError } from "../errors/proxy-error.js";
import { pickWeighted } from "../route/weighted.js";
import { endedCall, type Service } from "../stack/service.js";
import type { Clock } from "../time/clock.js";

export interface Backend {
  readonly weight: number;
  /** undefined: the document names a service that does not exist. */
  readonly service: Service | undefined;
}

/** Sends each request to one backend by weight; retries stay with it (Gateway API HTTPBackendRef.weight). */
export function weightedBackends(source: string, backends: readonly Backend[], clock: Clock): Service {
  const only = backends.length === 1 ? backends[0] : undefined;
  if (only !== undefined && only.service !== undefined && only.weight > 0) return only.service;
  return {
    call(request, reply) {
      const service = pickWeighted(backends, clock.random())?.service;
      if (service !== undefined) return service.call(request, reply);
      reply.end(
        new ProxyError("no_backend", `${source}: no backend with a weight, or it names an unknown service`),
      );
      return endedCall;
    },
  };
}
