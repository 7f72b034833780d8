/**
 * The protobuf messages of the config protocol, from the descriptor in proto/. Fields are in camel case, enums are their
 * names, absent message fields are absent, absent repeated fields are empty lists. What decode returns has the kinds
 * that the .proto files state but is otherwise unchecked: read it with Fields.
 */
import { fromJSON } from "@grpc/proto-loader";
import type { AnyDefinition, MessageTypeDefinition, ServiceDefinition } from "@grpc/proto-loader";
import { descriptorJson } from "./proto/descriptor.js";

const definitions = fromJSON(JSON.parse(descriptorJson) as Parameters<typeof fromJSON>[0], {
  longs: Number,
  enums: String,
  arrays: true,
});

/** One kind of message: to bytes and back. */
export interface WireType {
  /** `type.googleapis.com/<full name>`, the form that Any and xDS use. */
  readonly typeUrl: string;
  encode(message: object): Buffer;
  /** Throws when the bytes are not such a message. */
  decode(bytes: Buffer): unknown;
}

/** google.protobuf.Any. The snake case is protobuf.js's. */
export interface AnyMessage {
  readonly type_url: string;
  readonly value: Buffer;
}

const hcm = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";

export const wire = {
  listener: wireType("envoy.config.listener.v3.Listener"),
  routeConfiguration: wireType("envoy.config.route.v3.RouteConfiguration"),
  cluster: wireType("envoy.config.cluster.v3.Cluster"),
  clusterLoadAssignment: wireType("envoy.config.endpoint.v3.ClusterLoadAssignment"),
  httpConnectionManager: wireType(hcm),
  router: wireType("envoy.extensions.filters.http.router.v3.Router"),
  upstreamTlsContext: wireType("envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"),
  httpProtocolOptions: wireType("envoy.extensions.upstreams.http.v3.HttpProtocolOptions"),
  random: wireType("envoy.extensions.load_balancing_policies.random.v3.Random"),
  leastRequest: wireType("envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest"),
  ringHash: wireType("envoy.extensions.load_balancing_policies.ring_hash.v3.RingHash"),
  maglev: wireType("envoy.extensions.load_balancing_policies.maglev.v3.Maglev"),
  roundRobin: wireType("envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin"),
  remoraSnapshot: wireType("remora.v1.Snapshot"),
  remoraTrust: wireType("remora.v1.Trust"),
  remoraRoute: wireType("remora.v1.Route"),
  remoraCluster: wireType("remora.v1.Cluster"),
  remoraPeakEwma: wireType("remora.v1.PeakEwma"),
  remoraEndpoint: wireType("remora.v1.Endpoint"),
  remoraSavedSnapshot: wireType("remora.v1.SavedSnapshot"),
} as const;

/** envoy.service.discovery.v3.AggregatedDiscoveryService, for a gRPC server or client. */
export const aggregatedDiscoveryService = definitions[
  "envoy.service.discovery.v3.AggregatedDiscoveryService"
] as ServiceDefinition;

/** Key of Remora's messages in an Envoy Metadata; whoever does not know it passes over it. */
export const remoraMetadataKey = "remora.v1";

export function packAny(type: WireType, message: object): AnyMessage {
  return { type_url: type.typeUrl, value: type.encode(message) };
}

/** An Envoy Metadata that carries one message of ours. */
export function packMetadata(type: WireType, message: object): object {
  return { typedFilterMetadata: { [remoraMetadataKey]: packAny(type, message) } };
}

function wireType(name: string): WireType {
  const definition = definitions[name] as AnyDefinition | undefined;
  if (definition === undefined || !("serialize" in definition)) throw new Error(`no message ${name}`);
  const type = definition as MessageTypeDefinition<object, object>;
  return {
    typeUrl: `type.googleapis.com/${name}`,
    encode: (message) => type.serialize(message),
    decode: (bytes) => type.deserialize(bytes),
  };
}
