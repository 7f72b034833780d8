import { Fields } from "./fields.js";
import { packAny, wire } from "./wire.js";

/** Where the routes and the endpoints of other resources come from: the same stream. */
export const sameStream = { ads: {}, resourceApiVersion: "V3" } as const;

/**
 * A virtual host as a Listener: its name is what a proxyless gRPC client dials (`xds:///api.default`), its routes are
 * the RouteConfiguration of the same name.
 */
export function encodeListener(name: string): Buffer {
  const manager = {
    statPrefix: name,
    rds: { configSource: sameStream, routeConfigName: name },
    httpFilters: [{ name: "router", typedConfig: packAny(wire.router, {}) }],
  };
  return wire.listener.encode({
    name,
    apiListener: { apiListener: packAny(wire.httpConnectionManager, manager) },
  });
}

/** What a Listener says: which RouteConfiguration it takes. Throws ConfigError. */
export interface ListenerResource {
  readonly name: string;
  readonly routeConfigName: string;
}

export function decodeListener(bytes: Buffer): ListenerResource {
  const listener = Fields.decodeNamed(wire.listener, bytes, "listener");
  const manager = listener.message("apiListener").any("apiListener", wire.httpConnectionManager);
  const routeConfigName = manager.message("rds").requiredString("routeConfigName");
  return { name: listener.string("name"), routeConfigName };
}
