import { clusterDefaults } from "../../src/config/cluster-defaults.js";
import type { EndpointConfig, Snapshot } from "../../src/config/snapshot.js";

/** What a test may want different; the version should differ whenever anything else does. */
export interface ExampleOptions {
  readonly version: string;
  /** Service names; all in the namespace default. */
  readonly services?: readonly string[];
  /** Of every endpoint. */
  readonly port?: number;
  readonly endpointsPerService?: number;
  /** Path prefix of the one route of each service. */
  readonly prefix?: string;
}

/** A small consistent snapshot: each service has one route and some endpoints on 127.0.0.1. */
export function exampleSnapshot(options: ExampleOptions): Snapshot {
  const { version, services = ["api"], port = 9001, endpointsPerService = 1, prefix = "/" } = options;
  const names = services.map((service) => `${service}.default`);
  return {
    version,
    inbound: { mtlsMode: "STRICT", maxRequests: 0 },
    virtualHosts: names.map((name) => ({
      name,
      domains: [name],
      routes: [
        {
          name: "default",
          source: "default",
          hostnames: [],
          match: { path: { type: "prefix", value: prefix }, headers: [], query: [] },
          action: { type: "forward", backends: [{ cluster: name, weight: 1 }] },
        },
      ],
    })),
    clusters: services.map((service) => ({
      ...clusterDefaults,
      name: `${service}.default`,
      service,
      namespace: "default",
      identities: [`spiffe://mesh.local/ns/default/svc/${service}`],
      protocol: "http",
      mtlsMode: "STRICT",
      source: "default",
    })),
    endpoints: new Map(
      names.map((name) => [
        name,
        Array.from({ length: endpointsPerService }, (_, i) => exampleEndpoint(`${name}-${i}`, port)),
      ]),
    ),
  };
}

export function exampleEndpoint(instance: string, port: number): EndpointConfig {
  return { address: "127.0.0.1", port, meshed: true, weight: 1, zone: "a", instance, meta: {} };
}
