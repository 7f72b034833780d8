/**
 * A sidecar as it is registered with the local agent (Consul: "Sidecar service registration"), which is what
 * `consul connect envoy -sidecar-for` and `consul connect proxy -sidecar-for` read.
 */
import { ConfigError } from "../errors/config-error.js";
import type { UpstreamBinding } from "../config/bootstrap.js";
import type { ConsulGet } from "./consul-http.js";

export interface SidecarRegistration {
  /** The service that the sidecar stands for, and its instance. */
  readonly service: string;
  readonly id: string;
  /** Address that peers reach it at; "" = the node's. */
  readonly address: string;
  /** What its public listener is bound to. */
  readonly bindAddress: string;
  readonly bindPort: number;
  readonly appAddress: string;
  readonly appPort: number;
  /** As written; undefined when nobody says, which Consul takes for tcp. */
  readonly protocol: string | undefined;
  readonly upstreams: readonly UpstreamBinding[];
  /** Upstreams that are left out, each with the reason. */
  readonly ignored: readonly string[];
}

/**
 * The one sidecar that is registered for the service instance `id`.
 *
 * @throws ConfigError there is none, or several; ConsulReadError when the agent cannot be read.
 */
export async function readSidecarRegistration(
  get: ConsulGet,
  id: string,
  signal: AbortSignal,
): Promise<SidecarRegistration> {
  const read = { consistency: "default", block: undefined, signal } as const;
  const { body } = await get({ ...read, path: "/agent/services" });
  const services = Object.values(record(body)).map(record);
  const proxies = services.filter(
    ({ Kind: kind, Proxy: proxy }) =>
      kind === "connect-proxy" && record(proxy)["DestinationServiceID"] === id,
  );
  const shown = JSON.stringify(id);
  const [proxy] = proxies;
  if (proxy === undefined)
    throw new ConfigError(
      services.some(({ ID }) => ID === id)
        ? `the agent has ${shown}, but no sidecar for it: add "connect": {"sidecar_service": {}} to its registration`
        : `no service with id ${shown} is registered with the agent: register it, with a sidecar_service`,
      { place: "--for" },
    );
  if (proxies.length > 1) {
    const ids = proxies.map(({ ID }) => text(ID)).join(", ");
    throw new ConfigError(`the agent has several sidecars for ${shown} (${ids}): leave one`, {
      place: "--for",
    });
  }
  // The agent adds what the configuration entries of the whole mesh say to this answer, and to no other.
  const single = await get({ ...read, path: `/agent/service/${encodeURIComponent(text(proxy["ID"]))}` });
  const app = services.find(({ ID }) => ID === id);
  return decodeSidecar(record(single.body), record(app?.["Meta"])["protocol"], id);
}

/** @throws ConfigError when a port is missing that a sidecar cannot be without. */
export function decodeSidecar(
  registered: Readonly<Record<string, unknown>>,
  metaProtocol: unknown,
  id: string,
): SidecarRegistration {
  const proxy = record(registered["Proxy"]);
  const config = record(proxy["Config"]);
  const service = text(proxy["DestinationServiceName"]);
  const address = text(registered["Address"]);
  const bindPort = port(config["bind_port"]) ?? port(registered["Port"]);
  const appPort = port(proxy["LocalServicePort"]);
  const missing = bindPort === undefined ? "port" : "local_service_port";
  if (bindPort === undefined || appPort === undefined)
    throw new ConfigError(`the sidecar registered for ${JSON.stringify(id)} has no ${missing}: add it`, {
      place: "--for",
    });
  const listed = Array.isArray(proxy["Upstreams"]) ? proxy["Upstreams"].map(readUpstream) : [];
  return {
    service,
    id,
    address,
    bindAddress: text(config["bind_address"]) || address || "0.0.0.0",
    bindPort,
    appAddress: text(proxy["LocalServiceAddress"]) || "127.0.0.1",
    appPort,
    protocol: text(metaProtocol) || text(config["protocol"]) || undefined,
    upstreams: listed.filter((each) => typeof each !== "string"),
    ignored: listed.filter((each) => typeof each === "string"),
  };
}

/** The reason when it cannot be served. */
function readUpstream(item: unknown): UpstreamBinding | string {
  const upstream = record(item);
  const name = text(upstream["DestinationName"]);
  const type = text(upstream["DestinationType"]) || "service";
  const local = text(upstream["LocalBindAddress"]) || "127.0.0.1";
  const at = port(upstream["LocalBindPort"]);
  if (type !== "service") return `${name}: ${type} is not supported, only services are`;
  if (text(upstream["Datacenter"]) !== "") return `${name}: another datacenter is not supported`;
  if (local !== "127.0.0.1" && local !== "localhost")
    return `${name}: binds to ${local}, only 127.0.0.1 is supported`;
  if (at === undefined) return `${name}: has no local_bind_port`;
  return { service: name, port: at };
}

function record(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
}

function text(value: unknown): string {
  return typeof value === "string" ? value : "";
}

function port(value: unknown): number | undefined {
  return typeof value === "number" && Number.isInteger(value) && value >= 1 && value <= 65_535
    ? value
    : undefined;
}
