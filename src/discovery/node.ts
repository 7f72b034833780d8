import { protocols, type Protocol } from "../config/protocol.js";
import type { Fields } from "./fields.js";

/** Who a sidecar says it is when it opens its config stream. */
export interface SidecarNode {
  /** Unique per sidecar and stable over its restarts. */
  readonly id: string;
  readonly service: string;
  readonly namespace: string;
  readonly protocol: Protocol;
  /** `<service>.<namespace>`; empty = every service of the mesh. */
  readonly upstreams: readonly string[];
  readonly zone: string;
  /** Whether it was given a Redis to share counts in; absent: it does not say. */
  readonly hasRedis?: boolean;
}

const maxTextLength = 255;
const maxUpstreams = 1000;

/** As envoy.config.core.v3.Node: cluster is the service, what Envoy does not know is metadata. */
export function encodeNode(node: SidecarNode): object {
  const { id, service, namespace, protocol, upstreams, zone, hasRedis } = node;
  const values = upstreams.map((stringValue) => ({ stringValue }));
  return {
    id,
    cluster: service,
    locality: { zone },
    metadata: {
      fields: {
        namespace: { stringValue: namespace },
        protocol: { stringValue: protocol },
        upstreams: { listValue: { values } },
        ...(hasRedis !== undefined && { redis: { boolValue: hasRedis } }),
      },
    },
    userAgentName: "remora",
  };
}

/**
 * Reads a node that need not be a sidecar: a proxyless gRPC client has no metadata of ours and gets the namespace
 * `default` and every service. Throws ConfigError.
 */
export function decodeNode(node: Fields): SidecarNode {
  const metadata = node.optionalMessage("metadata")?.optionalMessage("fields");
  const text = (name: string): string | undefined => metadata?.optionalMessage(name)?.string("stringValue");
  const upstreams = metadata?.optionalMessage("upstreams")?.message("listValue").messages("values") ?? [];
  if (upstreams.length > maxUpstreams) throw node.error("metadata.upstreams", `more than ${maxUpstreams}`);
  const protocol = protocols.find((each) => each === text("protocol"));
  const redis = metadata?.optionalMessage("redis");
  const read: SidecarNode = {
    id: node.requiredString("id"),
    service: node.requiredString("cluster"),
    namespace: text("namespace") ?? "default",
    protocol: protocol ?? "http",
    upstreams: upstreams.map((value) => value.requiredString("stringValue")),
    zone: node.optionalMessage("locality")?.string("zone") ?? "",
    ...(redis?.has("boolValue") === true && { hasRedis: redis.boolean("boolValue") }),
  };
  const { id, service, namespace, zone } = read;
  if ([id, service, namespace, zone, ...read.upstreams].some((each) => each.length > maxTextLength)) {
    throw node.error("", `a name is longer than ${maxTextLength} characters`);
  }
  return read;
}
