import { protocols, type Protocol } from "../config/protocol.js";
import type { Fields } from "./fields.js";

const names = { http: "HTTP", http2: "HTTP2", grpc: "GRPC", tcp: "TCP" } as const;

/** remora.v1.Protocol. */
export function encodeProtocol(protocol: Protocol): string {
  return names[protocol];
}

/** Throws ConfigError for an unspecified or unknown one. */
export function decodeProtocol(fields: Fields, name: string): Protocol {
  const found = fields.oneOf(name, Object.values(names));
  return protocols.find((each) => names[each] === found) ?? "http";
}
