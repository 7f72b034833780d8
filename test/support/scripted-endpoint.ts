import type { EndpointConfig } from "../../src/config/snapshot.js";
import type { Endpoint } from "../../src/stack/endpoint.js";
import { ScriptedService } from "./scripted-service.js";

export function endpointConfig(index: number, change: Partial<EndpointConfig> = {}): EndpointConfig {
  return {
    address: `10.0.0.${index}`,
    port: 8443,
    meshed: true,
    weight: 1,
    zone: "",
    instance: `api-${index}`,
    meta: {},
    ...change,
  };
}

/** A transport played by the test; it notes how it was told to end. */
export class ScriptedTransport extends ScriptedService {
  ended: "" | "retired" | "closed" = "";
  retire(): void {
    this.ended = "retired";
  }
  close(): void {
    this.ended = "closed";
  }
}

/** An endpoint whose gate is a plain field. */
export class ScriptedEndpoint implements Endpoint {
  readonly key: string;
  config: EndpointConfig;
  inflight = 0;
  latencyMs = 0;
  latencyAtMs = 0;
  warmingSinceMs = -Infinity;
  isOpen = true;
  readonly gate = { isOpen: () => this.isOpen };
  readonly transport = new ScriptedTransport();

  constructor(key: string, config: EndpointConfig) {
    this.key = key;
    this.config = config;
  }
}
