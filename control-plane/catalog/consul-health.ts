/**
 * What /v1/health/service and /v1/health/connect answer, turned into instances. Whoever may write to the registry chose
 * every value here, so each is checked: a wrong one costs its instance, never the others.
 */
import { isServiceName } from "../../certs/spiffe-id.js";
import { protocols, type Protocol } from "../../src/config/protocol.js";
import { addressKind } from "../../src/traffic/address-kind.js";
import { instanceStatuses, type Instance, type InstanceStatus } from "./catalog.js";

/** One service instance or one sidecar on one node, as Consul has it. */
export interface HealthEntry {
  readonly node: string;
  readonly nodeAddress: string;
  readonly zone: string;
  readonly id: string;
  /** The name it is registered under: for a sidecar `<service>-sidecar-proxy`. */
  readonly name: string;
  /** "" for a service, `connect-proxy` for a sidecar; gateways have others. */
  readonly kind: string;
  readonly address: string;
  readonly port: number;
  readonly meta: Readonly<Record<string, string>>;
  readonly tags: readonly string[];
  readonly weights: { readonly passing: number; readonly warning: number };
  readonly status: InstanceStatus;
  /** The status without the checks that only repeat another service's (Consul: "Alias check"). */
  readonly ownStatus: InstanceStatus;
  /** ownStatus without the checks that did not run yet; differs from it when isUnproven. */
  readonly provenStatus: InstanceStatus;
  readonly isUnproven: boolean;
  /** Whom a sidecar stands for; the id is "" when its registration does not say. */
  readonly destination: { readonly name: string; readonly id: string; readonly port: number } | undefined;
}

/** Refuses an address and port that no instance may have, for example the control plane's own; the reason, or undefined. */
export type RefuseAddress = (address: string, port: number) => string | undefined;

export interface MergedInstances {
  readonly instances: readonly Instance[];
  /** One line for each that was left out: who and why. */
  readonly refused: readonly string[];
}

/**
 * undefined when the answer is not what Consul answers.
 *
 * @param isElsewhere of another datacenter: its instances are reached at their WAN addresses, where they have any.
 */
export function readHealthEntries(body: unknown, isElsewhere = false): readonly HealthEntry[] | undefined {
  if (!Array.isArray(body)) return undefined;
  const entries: HealthEntry[] = [];
  for (const item of body) {
    const [node, service] = [record(record(item)?.["Node"]), record(record(item)?.["Service"])];
    if (node === undefined || service === undefined) return undefined;
    const at = isElsewhere ? wanAddress(node, service) : lanAddress(node, service);
    entries.push({ ...readEntry(node, service, record(item)?.["Checks"]), ...at });
  }
  return entries;
}

function readEntry(
  node: Readonly<Record<string, unknown>>,
  service: Readonly<Record<string, unknown>>,
  checks: unknown,
): Omit<HealthEntry, keyof EntryAddress> {
  const proxy = record(service["Proxy"]);
  const weights = record(service["Weights"]);
  const own = Array.isArray(checks) ? checks.filter((check) => !isAlias(check)) : [];
  const ownStatus = statusOf(own);
  const provenStatus = statusOf(own.filter((check) => !isUnproven(check)));
  const isProxy = text(service["Kind"]) === "connect-proxy";
  return {
    node: text(node["Node"]),
    zone: zoneOf(service) || zoneOf(node),
    id: text(service["ID"]),
    name: text(service["Service"]),
    kind: text(service["Kind"]),
    meta: strings(service["Meta"]),
    tags: Array.isArray(service["Tags"]) ? service["Tags"].filter((tag) => typeof tag === "string") : [],
    weights: { passing: integer(weights?.["Passing"]), warning: integer(weights?.["Warning"]) },
    status: statusOf(checks),
    ownStatus,
    provenStatus,
    isUnproven: provenStatus !== ownStatus,
    destination: isProxy
      ? {
          name: text(proxy?.["DestinationServiceName"]),
          id: text(proxy?.["DestinationServiceID"]),
          port: integer(proxy?.["LocalServicePort"]),
        }
      : undefined,
  };
}

type EntryAddress = Pick<HealthEntry, "nodeAddress" | "address" | "port">;

function lanAddress(
  node: Readonly<Record<string, unknown>>,
  service: Readonly<Record<string, unknown>>,
): EntryAddress {
  return {
    nodeAddress: text(node["Address"]),
    address: text(service["Address"]),
    port: integer(service["Port"]),
  };
}

/** Consul's own translation, which its agents make with translate_wan_addrs: each part that has a WAN form is replaced by it. */
function wanAddress(
  node: Readonly<Record<string, unknown>>,
  service: Readonly<Record<string, unknown>>,
): EntryAddress {
  const lan = lanAddress(node, service);
  const wan = record(record(service["TaggedAddresses"])?.["wan"]);
  return {
    nodeAddress: text(record(node["TaggedAddresses"])?.["wan"]) || lan.nodeAddress,
    address: text(wan?.["Address"]) || lan.address,
    port: (wan?.["Port"] ?? 0) === 0 ? lan.port : integer(wan?.["Port"]),
  };
}

/** The metadata `zone`, else Consul's own field (Consul: "Locality", since 1.17); "" when it has neither. */
function zoneOf(registered: Readonly<Record<string, unknown>>): string {
  return strings(registered["Meta"])["zone"] || text(record(registered["Locality"])?.["Zone"]);
}

/** The worst of an instance's checks, its node's included. No check at all means passing, as in Consul. */
export function statusOf(checks: unknown): InstanceStatus {
  let worst = 0;
  for (const item of Array.isArray(checks) ? checks : []) {
    const check = record(item);
    const id = text(check?.["CheckID"]);
    // Consul models maintenance as a critical check with one of these ids (api.NodeMaint, api.ServiceMaintPrefix).
    const isMaintenance = id === "_node_maintenance" || id.startsWith("_service_maintenance:");
    const known = instanceStatuses.indexOf(text(check?.["Status"]) as InstanceStatus);
    worst = Math.max(worst, isMaintenance ? 3 : known === -1 ? 2 : known);
  }
  return instanceStatuses[worst] ?? "critical";
}

function isAlias(check: unknown): boolean {
  return text(record(check)?.["Type"]) === "alias";
}

/** Checks that the agent itself runs, and whose output it fills when it does (Consul: agent/structs/check_type.go). */
const runByAgent = new Set(["http", "tcp", "udp", "grpc", "h2ping", "script", "docker", "os_service"]);

/** Critical without any output: the agent has not run it since it started. */
function isUnproven(check: unknown): boolean {
  const { Type, Output, Status } = record(check) ?? {};
  return runByAgent.has(text(Type)) && Output === "" && Status === "critical";
}

function worse(a: InstanceStatus, b: InstanceStatus): InstanceStatus {
  return instanceStatuses.indexOf(a) > instanceStatuses.indexOf(b) ? a : b;
}

/**
 * Joins services with the sidecars that stand for them: same node and id, or same node when the sidecar names no id and
 * there is only one. A sidecar whose service is not registered is an instance of its own. Sorted by id.
 */
export function mergeInstances(
  service: string,
  entries: readonly HealthEntry[],
  proxies: readonly HealthEntry[],
  refuse: RefuseAddress,
): MergedInstances {
  const apps = entries.filter((entry) => entry.kind === "");
  const left = new Set(proxies.filter((proxy) => proxy.destination?.name === service));
  const instances = new Map<string, Instance>();
  const refused: string[] = [];
  const add = (app: HealthEntry, proxy: HealthEntry | undefined): void => {
    // Ids are unique per agent only: two nodes may both run a "web".
    const id = `${app.node}/${app.id}`;
    const reason =
      refuseEntry(proxy ?? app, refuse) ?? (instances.has(id) ? "its id is registered twice" : undefined);
    if (reason !== undefined) refused.push(`${service} instance ${JSON.stringify(id)}: ${reason}`);
    else instances.set(id, toInstance(id, app, proxy));
  };
  for (const app of apps) {
    const isOnly = apps.filter((other) => other.node === app.node).length === 1;
    const proxy = [...left].find(
      ({ node, destination }) =>
        node === app.node && (destination?.id === app.id || (destination?.id === "" && isOnly)),
    );
    if (proxy !== undefined) left.delete(proxy);
    add(app, proxy);
  }
  for (const proxy of left) {
    const id = proxy.destination?.id === "" ? proxy.id : (proxy.destination?.id ?? proxy.id);
    const app = { ...proxy, id, port: proxy.destination?.port ?? 0 };
    add(app, { ...proxy, ownStatus: proxy.status });
  }
  return {
    instances: [...instances.values()].sort((a, b) => (a.id < b.id ? -1 : 1)),
    refused,
  };
}

function toInstance(id: string, app: HealthEntry, proxy: HealthEntry | undefined): Instance {
  // The service's own checks are at hand, so their copy at the sidecar, which agents deliver up to seconds later, is not used.
  const status = proxy === undefined ? app.status : worse(app.status, proxy.ownStatus);
  // Peers dial the sidecar, so its address is the one that counts; usually both are the same.
  const at = proxy ?? app;
  const weight = status === "warning" ? app.weights.warning : app.weights.passing;
  return {
    id,
    address: addressOf(at),
    port: app.port >= 1 && app.port <= 65_535 ? app.port : 0,
    meshPort: proxy?.port,
    status,
    protocol: protocolOf(app.meta["protocol"]) ?? "http",
    weight: Math.min(65_535, Math.max(1, weight)), // Consul's range; 0 would silently take the instance out
    zone: app.zone,
    meta: app.meta,
    tags: app.tags,
  };
}

/** In any case, as Consul takes the Protocol of its service-defaults. */
function protocolOf(value: string | undefined): Protocol | undefined {
  const lower = value?.toLowerCase();
  return protocols.find((protocol) => protocol === lower);
}

function addressOf(entry: HealthEntry): string {
  return entry.address === "" ? entry.nodeAddress : entry.address;
}

/** Why nobody should connect to what this entry names; undefined when it may be used. */
function refuseEntry(entry: HealthEntry, refuse: RefuseAddress): string | undefined {
  const address = addressOf(entry);
  if (entry.port < 1 || entry.port > 65_535) return `port ${entry.port} is none (1-65535)`;
  const shown = JSON.stringify(address.slice(0, 60));
  const kind = addressKind(address);
  if (kind === undefined) return `address ${shown} is no IP address`;
  if (kind !== "host" && kind !== "loopback")
    return `address ${shown} is unspecified, link-local or multicast`;
  // A loopback address means another machine to everybody else, unless the registry's own node is on loopback too: then
  // all of it is one machine.
  if (kind === "loopback" && addressKind(entry.nodeAddress) !== "loopback")
    return `address ${shown} is loopback, its node ${JSON.stringify(entry.nodeAddress)} is not: advertise a reachable address`;
  return refuse(address, entry.port);
}

/** The names that /v1/catalog/services lists; undefined when the answer is not what Consul answers. */
export function readServiceNames(body: unknown): ReadonlySet<string> | undefined {
  const services = record(body);
  return services === undefined || Array.isArray(body) ? undefined : new Set(Object.keys(services));
}

/** Does a listed name stand for a service of the mesh, and not for Consul itself or for a sidecar? */
export function isMeshService(name: string): boolean {
  return name !== "consul" && !name.endsWith("-sidecar-proxy") && isServiceName(name);
}

function record(value: unknown): Readonly<Record<string, unknown>> | undefined {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : undefined;
}

function text(value: unknown): string {
  return typeof value === "string" ? value : "";
}

/** -1 when it is none, so that no later check takes it for a port or a weight. */
function integer(value: unknown): number {
  return typeof value === "number" && Number.isSafeInteger(value) ? value : -1;
}

function strings(value: unknown): Readonly<Record<string, string>> {
  const pairs = Object.entries(record(value) ?? {}).filter((pair): pair is [string, string] => {
    return typeof pair[1] === "string";
  });
  return Object.fromEntries(pairs);
}
