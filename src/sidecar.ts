import type { LatestValue } from "./lifecycle/latest-value.js";

/** Ports that a running sidecar is reached at; all on loopback but the inbound one. */
export interface SidecarPorts {
  readonly inbound: number;
  /** undefined: there is no host-routed port. */
  readonly outbound: number | undefined;
  readonly admin: number;
  /** Key: the service as `--upstream` named it. */
  readonly upstreams: ReadonlyMap<string, number>;
}

/** What is still missing before traffic can flow, in words for an error text; empty = ready. */
export type Missing = readonly string[];

/** A running sidecar. Its owner calls the steps of a shutdown in the order they stand here. */
export interface Sidecar {
  readonly ports: SidecarPorts;
  /** Upstreams, as `--upstream` named them, that speak raw TCP by the configuration in force. */
  readonly tcpUpstreams: ReadonlySet<string>;
  /** Certificate and first configuration are there. */
  readonly missing: LatestValue<Missing>;
  /** Path of the SPIFFE Workload API's socket; undefined: it is not served. */
  readonly workloadApi: string | undefined;
  /** SPIFFE id. */
  readonly identity: string;
  /** The application accepts connections: tell the registry. Rejects with ConfigError when the registry refuses. */
  announce(): Promise<void>;
  /** Leaves the registry and waits until peers have heard of it. */
  withdraw(): Promise<void>;
  /** Finishes inbound requests, bounded by the drain timeout; outbound keeps working for the application's last calls. */
  drainInbound(): Promise<void>;
  /** Ends everything that is left, now. Idempotent. */
  close(): Promise<void>;
}

export type LogLevel = "debug" | "info" | "warn" | "error";

/** Operator's log: one line per event, never per request. */
export type Log = (level: LogLevel, message: string, fields?: Readonly<Record<string, unknown>>) => void;
