import type { EndpointConfig } from "../config/snapshot.js";
import type { Endpoint, EndpointTransport } from "../stack/endpoint.js";
import type { EndpointBreaker } from "./endpoint-breaker.js";
import { HealthGate } from "./health-gate.js";

/** An endpoint of an outbound cluster: its breaker is the gate. */
export class ClusterEndpoint implements Endpoint {
  readonly key: string;
  config: EndpointConfig;
  inflight = 0;
  /** 0: not measured yet. */
  latencyMs = 0;
  latencyAtMs = 0;
  warmingSinceMs = -Infinity;
  readonly gate: EndpointBreaker;
  /** What active health checks found; the gate asks it. */
  readonly health: HealthGate;
  #transport: EndpointTransport;

  constructor(
    key: string,
    config: EndpointConfig,
    gate: EndpointBreaker,
    transport: EndpointTransport,
    health = new HealthGate(),
  ) {
    this.key = key;
    this.config = config;
    this.gate = gate;
    this.health = health;
    this.#transport = transport;
  }

  get transport(): EndpointTransport {
    return this.#transport;
  }

  /** From the next attempt on; those under way finish where they are. */
  replaceTransport(transport: EndpointTransport): void {
    const before = this.#transport;
    this.#transport = transport;
    before.retire();
  }
}
