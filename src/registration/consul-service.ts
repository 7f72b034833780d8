/**
 * What a service looks like in Consul: the service with its checks, and beside it the sidecar that Consul's own mesh
 * would register (Consul: "Sidecar service registration"), so that /v1/health/connect/<service> lists it.
 */
import net from "node:net";
import type { WanAddress } from "../config/bootstrap.js";

export type ConsulCheck =
  | {
      readonly kind: "http";
      readonly path: string;
      readonly intervalMs?: number;
      readonly timeoutMs?: number;
    }
  | { readonly kind: "tcp"; readonly intervalMs?: number; readonly timeoutMs?: number }
  /** Fed by this process: see ConsulRegistration.setTtlStatus. */
  | { readonly kind: "ttl"; readonly ttlMs: number };

export interface ConsulService {
  /** Unique on its agent. */
  readonly id: string;
  readonly name: string;
  /** The application's own port. */
  readonly port: number;
  /** Address that peers reach this machine at; goes into the registry. */
  readonly address: string;
  /** Where the agent's checks and the sidecar find the application; default 127.0.0.1. */
  readonly appAddress?: string;
  /** Where other datacenters reach this machine; the port is the inbound one's. */
  readonly wanAddress?: WanAddress | undefined;
  readonly meta: Readonly<Record<string, string>>;
  readonly tags: readonly string[];
  readonly checks: readonly ConsulCheck[];
  /** What the checks count as until the agent first ran them (critical); `passing` when the application was seen ready. */
  readonly initialStatus?: CheckStatus;
}

export type CheckStatus = "passing" | "warning" | "critical";

/** Local checks cost nothing, and after its own restart an agent holds every check critical until it ran once. */
const intervalMs = 2000;
const timeoutMs = 1000;
/** A service whose machine is gone for good leaves the catalog by itself. Consul's smallest value is one minute. */
const deregisterAfter = "10m";

/** One check in the form of the `consul` package. */
export interface CheckDefinition {
  readonly checkid: string;
  readonly name: string;
  readonly status: CheckStatus;
  readonly timeout: string;
  readonly interval?: string;
  readonly http?: string;
  readonly tcp?: string;
  readonly ttl?: string;
  readonly aliasservice?: string;
  readonly deregistercriticalserviceafter?: string;
}

/** Consul: "wan" is for whoever asks from another datacenter. */
interface TaggedAddresses {
  readonly wan: { readonly address: string; readonly port: number };
}

/** The argument of the `consul` package's agent.service.register; Consul makes two registrations of it. */
export interface ServiceDefinition {
  readonly name: string;
  readonly id: string;
  readonly port: number;
  readonly address: string;
  readonly meta: Record<string, string>;
  readonly tags: string[];
  readonly checks: CheckDefinition[];
  readonly taggedaddresses?: TaggedAddresses;
  readonly connect: {
    readonly sidecarservice: {
      readonly port: number;
      readonly address: string;
      readonly taggedaddresses?: TaggedAddresses;
      readonly checks: CheckDefinition[];
      readonly proxy: Readonly<Record<string, unknown>>;
    };
  };
}

/** The id of the sidecar's registration: Consul fixes it. */
export function sidecarId(serviceId: string): string {
  return `${serviceId}-sidecar-proxy`;
}

export function ttlCheckId(serviceId: string, index: number): string {
  return `service:${serviceId}:${index + 1}`;
}

/** @param lastStatus key: check id; what the agent said last, for a registration that replaces a lost one. */
export function defineService(
  service: ConsulService,
  inboundPort: number,
  lastStatus: ReadonlyMap<string, CheckStatus>,
): ServiceDefinition {
  const { wanAddress: wan, appAddress: app = "127.0.0.1" } = service;
  const sidecar = sidecarId(service.id);
  const statusOf = (id: string, initial: CheckStatus): CheckStatus => lastStatus.get(id) ?? initial;
  const checks = service.checks.map((check, index): CheckDefinition => {
    const checkid = ttlCheckId(service.id, index);
    const common = { checkid, status: statusOf(checkid, service.initialStatus ?? "critical") };
    const reap = { deregistercriticalserviceafter: deregisterAfter };
    if (check.kind === "ttl")
      return { ...common, ...reap, name: "heartbeat of the sidecar", timeout: "", ttl: `${check.ttlMs}ms` };
    const timing = {
      interval: `${check.intervalMs ?? intervalMs}ms`,
      timeout: `${check.timeoutMs ?? timeoutMs}ms`,
    };
    const at = hostPort(app, service.port);
    return check.kind === "http"
      ? { ...common, ...reap, ...timing, name: `GET ${check.path}`, http: `http://${at}${check.path}` }
      : { ...common, ...reap, ...timing, name: "application listens", tcp: at };
  });
  return {
    name: service.name,
    id: service.id,
    port: service.port,
    address: service.address,
    meta: { ...service.meta },
    tags: [...service.tags],
    checks,
    ...(wan !== undefined && { taggedaddresses: { wan: { address: wan.address, port: service.port } } }),
    connect: {
      sidecarservice: {
        port: inboundPort,
        address: service.address,
        ...(wan !== undefined && {
          taggedaddresses: { wan: { address: wan.address, port: wan.port ?? inboundPort } },
        }),
        checks: [
          {
            checkid: `service:${sidecar}:1`,
            name: "sidecar listens",
            status: statusOf(`service:${sidecar}:1`, "passing"), // its port was bound before it registers
            tcp: hostPort(service.address, inboundPort),
            interval: `${intervalMs}ms`,
            timeout: `${timeoutMs}ms`,
            deregistercriticalserviceafter: deregisterAfter,
          },
          {
            checkid: `service:${sidecar}:2`,
            name: `status of ${service.name}`,
            status: statusOf(`service:${sidecar}:2`, service.initialStatus ?? "critical"),
            timeout: "",
            aliasservice: service.id,
          },
        ],
        proxy: {
          destinationservicename: service.name,
          destinationserviceid: service.id,
          localserviceaddress: app,
          localserviceport: service.port,
        },
      },
    },
  };
}

/** Every check that must be there for the registration to be whole. */
export function checkIdsOf(definition: ServiceDefinition): readonly string[] {
  return [...definition.checks, ...definition.connect.sidecarservice.checks].map((check) => check.checkid);
}

function hostPort(host: string, port: number): string {
  return net.isIPv6(host) ? `[${host}]:${port}` : `${host}:${port}`;
}
