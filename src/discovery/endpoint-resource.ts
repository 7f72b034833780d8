import { isIP } from "node:net";
import type { EndpointConfig } from "../config/snapshot.js";
import { Fields } from "./fields.js";
import { packMetadata, wire } from "./wire.js";

/** What a ClusterLoadAssignment says. */
export interface EndpointResource {
  /** Of the cluster. */
  readonly name: string;
  readonly endpoints: readonly EndpointConfig[];
}

/** Endpoints of one zone make up one locality: gRPC refuses a locality that comes twice. */
export function encodeEndpoints(cluster: string, endpoints: readonly EndpointConfig[]): Buffer {
  const zones = new Map<string, { weight: number; lbEndpoints: object[] }>();
  endpoints.forEach((endpoint, position) => {
    const zone = zones.get(endpoint.zone) ?? { weight: 0, lbEndpoints: [] };
    if (endpoint.isDown !== true) zone.weight += endpoint.weight;
    zone.lbEndpoints.push(encodeEndpoint(endpoint, position));
    zones.set(endpoint.zone, zone);
  });
  return wire.clusterLoadAssignment.encode({
    clusterName: cluster,
    endpoints: [...zones].map(([zone, { weight, lbEndpoints }]) => ({
      locality: { zone },
      lbEndpoints,
      // gRPC drops a locality without a weight, as it shall where all are down.
      ...(weight > 0 && { loadBalancingWeight: { value: Math.min(weight, 2 ** 32 - 1) } }),
    })),
  });
}

function encodeEndpoint(endpoint: EndpointConfig, position: number): object {
  const { address, port, weight, instance, meshed } = endpoint;
  const meta = Object.entries(endpoint.meta).map(([key, value]) => ({ key, value }));
  return {
    endpoint: { address: { socketAddress: { address, portValue: port } } },
    loadBalancingWeight: { value: weight },
    ...(endpoint.isDown === true && { healthStatus: "UNHEALTHY" }),
    metadata: packMetadata(wire.remoraEndpoint, { instance, meshed, position, meta }),
  };
}

/** Throws ConfigError. */
export function decodeEndpoints(bytes: Buffer): EndpointResource {
  const assignment = Fields.decodeNamed(wire.clusterLoadAssignment, bytes, "endpoints of", "clusterName");
  const placed = assignment.messages("endpoints").flatMap((locality) => {
    const zone = locality.message("locality").string("zone");
    return locality.messages("lbEndpoints").map((endpoint) => decodeEndpoint(endpoint, zone));
  });
  placed.sort((a, b) => a.position - b.position);
  return { name: assignment.string("clusterName"), endpoints: placed.map(({ endpoint }) => endpoint) };
}

function decodeEndpoint(fields: Fields, zone: string): { position: number; endpoint: EndpointConfig } {
  const socket = fields.message("endpoint").message("address").message("socketAddress");
  const address = socket.string("address");
  if (isIP(address) === 0) throw socket.error("address", `${JSON.stringify(address)} is not an IP address`);
  const ours = fields.metadata(wire.remoraEndpoint);
  const meta = ours.messages("meta").map((entry) => [entry.string("key"), entry.string("value")] as const);
  return {
    position: ours.number("position", 0, 2 ** 32 - 1),
    endpoint: {
      address,
      port: socket.number("portValue", 1, 65_535),
      meshed: ours.boolean("meshed"),
      weight: fields.wrapped("loadBalancingWeight", 1),
      zone,
      instance: ours.string("instance"),
      // fromEntries defines own properties, so a key "__proto__" is a key.
      meta: Object.fromEntries(meta),
      ...(fields.oneOf("healthStatus", ["UNKNOWN", "UNHEALTHY"], "UNKNOWN") === "UNHEALTHY" && {
        isDown: true,
      }),
    },
  };
}
