import type { LatestValue } from "../../src/lifecycle/latest-value.js";
import type { Protocol } from "../../src/config/snapshot.js";

/** What the registry knows, as of now. Immutable; services without any instance are still listed while they are known. */
export interface CatalogState {
  /** Key: `<service>.<namespace>`. */
  readonly services: ReadonlyMap<string, CatalogService>;
  /** Set while the registry cannot be read: what is here is the last that was. */
  readonly staleSince: StaleSince | undefined;
}

export interface StaleSince {
  readonly wallMs: number;
  /** One line: what fails and what to do. */
  readonly reason: string;
}

export interface CatalogService {
  readonly name: string;
  readonly namespace: string;
  readonly instances: readonly Instance[];
}

/** From well to bad. */
export const instanceStatuses = ["passing", "warning", "critical", "maintenance"] as const;
export type InstanceStatus = (typeof instanceStatuses)[number];

export interface Instance {
  /** Unique in its service. */
  readonly id: string;
  /** IP literal that peers reach it at. */
  readonly address: string;
  /** The application's own port. 0 = unknown. */
  readonly port: number;
  /** The sidecar's inbound mTLS port; undefined when the instance has no sidecar. */
  readonly meshPort: number | undefined;
  /** passing and warning are routed to; critical and maintenance are not. */
  readonly status: InstanceStatus;
  readonly protocol: Protocol;
  /** >= 1 */
  readonly weight: number;
  readonly zone: string;
  readonly meta: Readonly<Record<string, string>>;
  readonly tags: readonly string[];
}

/** A registry. Consul and the embedded one look the same to everything after them. */
export interface Catalog {
  readonly kind: "embedded" | "consul";
  /** undefined until it was read for the first time. */
  readonly state: LatestValue<CatalogState | undefined>;
  close(): Promise<void>;
}
