import type { Catalog, CatalogState, InstanceStatus, StaleSince } from "../catalog/catalog.js";
import type { OtherDatacenters } from "../catalog/other-datacenters.js";
import type { Condition } from "../compiler/condition.js";
import { withStatus } from "../compiler/conditions.js";
import { refusedServices } from "../compiler/service-name.js";
import type { StoreProblem } from "../policy-store/directory.js";
import { idOf, type StoredDocument } from "../policy-store/stored-document.js";

/** Answer of GET /v1/status. */
export interface StatusView {
  readonly version: string;
  readonly trustDomain: string;
  /** Of the newest trust; sidecars that have another are on their way to it. */
  readonly trustVersion: string;
  readonly startedAtMs: number;
  readonly registry: {
    readonly kind: Catalog["kind"];
    /** False until it was read for the first time. */
    readonly isRead: boolean;
    /** Set while it cannot be read. */
    readonly stale: { readonly sinceMs: number; readonly reason: string } | null;
    readonly services: number;
    readonly instances: number;
    readonly refused: readonly { readonly service: string; readonly reason: string }[];
    /** Consul's other ones that policies fail over to; absent: a control plane of an older version. */
    readonly datacenters?: readonly DatacenterView[];
  };
  readonly documents: number;
  readonly problems: readonly StoreProblem[];
  readonly sidecars: number;
}

export interface DatacenterView {
  readonly name: string;
  /** False until it was read for the first time. */
  readonly isRead: boolean;
  /** Set while it cannot be read. */
  readonly stale: { readonly sinceMs: number; readonly reason: string } | null;
  /** Of the services that policies name: those that it has. */
  readonly services: readonly {
    readonly service: string;
    readonly instances: readonly { readonly id: string; readonly status: InstanceStatus }[];
  }[];
}

/** One entry of GET /v1/services. */
export interface ServiceView {
  readonly name: string;
  readonly namespace: string;
  readonly instances: readonly {
    readonly id: string;
    readonly address: string;
    readonly port: number;
    readonly meshPort: number | null;
    readonly isMeshed: boolean;
    readonly status: InstanceStatus;
    readonly protocol: string;
    readonly weight: number;
    readonly zone: string;
  }[];
}

/** One entry of GET /v1/sidecars. */
export interface SidecarView {
  readonly id: string;
  readonly service: string;
  readonly namespace: string;
  /** address:port of its connection. */
  readonly address: string;
  readonly connectedAtMs: number;
  /** SYNCED: it has confirmed the newest. STALE: not yet. NACK: it has refused it. NOT SENT: there was nothing to send yet. */
  readonly state: "SYNCED" | "STALE" | "NACK" | "NOT SENT";
  /** Version of the snapshot that was sent last. */
  readonly version: string | null;
  /** Version that it confirmed last. */
  readonly ackedVersion: string | null;
  /** Version of the trust (roots, revocations, federation) that it has put in force. */
  readonly trustVersion: string | null;
  readonly nackReason: string | null;
  /** Unix milliseconds. */
  readonly lastAckAtMs: number | null;
  /** Unix milliseconds. */
  readonly certificateNotBeforeMs: number | null;
  readonly certificateNotAfterMs: number | null;
  /** Hexadecimal. */
  readonly certificateSerial: string | null;
  /** Key id of the CA that signed it, hexadecimal. */
  readonly certificateIssuer: string | null;
  /** Whether it was started with --redis-url; null: it does not say. */
  readonly hasRedis: boolean | null;
}

/** One entry of GET /v1/documents. */
export interface DocumentView {
  readonly kind: string;
  readonly namespace: string;
  readonly name: string;
  readonly file: string;
  readonly createdAtMs: number;
  readonly conditions: readonly Condition[];
  /** The document with its conditions as status. */
  readonly yaml: string;
  /** The same as data. */
  readonly document: unknown;
}

/** The registry's part of the status. */
export function viewRegistry(
  kind: Catalog["kind"],
  state: CatalogState | undefined,
  datacenters: OtherDatacenters | undefined,
): StatusView["registry"] {
  const services = [...(state?.services.values() ?? [])];
  return {
    kind,
    isRead: state !== undefined,
    stale: viewStale(state?.staleSince),
    services: services.length,
    instances: services.reduce((sum, service) => sum + service.instances.length, 0),
    refused: state === undefined ? [] : refusedServices(state),
    datacenters: [...(datacenters?.others ?? [])].map(([name, { isRead, staleSince, services: named }]) => ({
      name,
      isRead,
      stale: viewStale(staleSince),
      services: [...named].map(([service, { instances }]) => ({
        service,
        instances: instances.map(({ id, status }) => ({ id, status })),
      })),
    })),
  };
}

function viewStale(since: StaleSince | undefined): StatusView["registry"]["stale"] {
  return since === undefined ? null : { sinceMs: since.wallMs, reason: since.reason };
}

/** By namespace, then name. */
export function viewServices(state: CatalogState | undefined): readonly ServiceView[] {
  const entries = [...(state?.services ?? [])].sort(([a], [b]) => (a < b ? -1 : 1));
  return entries.map(([, { name, namespace, instances }]) => ({
    name,
    namespace,
    instances: instances.map(({ id, address, port, meshPort, status, protocol, weight, zone }) => ({
      id,
      address,
      port,
      meshPort: meshPort ?? null,
      isMeshed: meshPort !== undefined,
      status,
      protocol,
      weight,
      zone,
    })),
  }));
}

export function viewDocument(
  stored: StoredDocument,
  conditions: ReadonlyMap<string, readonly Condition[]>,
): DocumentView {
  const { kind, metadata } = stored.document;
  // None yet: the registry was not read, so nothing could be judged.
  const own = conditions.get(idOf(stored.document)) ?? [];
  return {
    kind,
    namespace: metadata.namespace,
    name: metadata.name,
    file: stored.file,
    createdAtMs: stored.createdAtMs,
    conditions: own,
    yaml: withStatus(stored, own),
    document: stored.document,
  };
}
