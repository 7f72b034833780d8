import type { BreakerAnswer, ServiceCommand } from "../policy/breaker-command.js";

/** What the admin API shows and does, as plain functions: it knows nothing of the proxy's insides. */
export interface AdminView {
  readiness(): Readiness;
  serverInfo(): ServerInfo;
  clusters(): Promise<readonly ClusterView[]>;
  listeners(): readonly ListenerView[];
  certificates(): readonly CertificateView[];
  /** The configuration in force as JSON data; Maps are shown as objects. Secrets in it are redacted by the admin API. */
  configDump(): unknown;
  logLevel(): string;
  /** False when there is no such level. */
  setLogLevel(level: string): boolean;
  /** Makes /ready answer 503, or as it is again. */
  setHealthcheckFailing(isFailing: boolean): void;
  /** An operator's word to breakers. */
  drive(command: ServiceCommand): Promise<BreakerAnswer>;
  /** Begins to drain; returns at once. */
  drain(): void;
  /** Ends the process in good order; called when the answer is on its way. */
  quit(): void;
}

export interface Readiness {
  readonly isReady: boolean;
  /** Envoy's words. */
  readonly state: "LIVE" | "DRAINING" | "PRE_INITIALIZING" | "INITIALIZING";
  /** What is still missing, for example "certificate". */
  readonly missing: readonly string[];
}

export interface ServerInfo {
  readonly version: string;
  readonly nodeId: string;
  readonly service: string;
  readonly namespace: string;
  readonly uptimeSeconds: number;
  readonly configVersion: string;
  /** Since when the snapshot is not confirmed by a control plane, Unix milliseconds; undefined when it is. */
  readonly staleSinceMs: number | undefined;
  /** Processes that carry the traffic; empty: the one that answers. */
  readonly workers: readonly WorkerView[];
}

export interface WorkerView {
  /** 1, 2, ...; stays with whoever takes the place of a worker that has died. */
  readonly worker: number;
  /** 0 = there is no process now. */
  readonly pid: number;
  /** silent: it did not answer in time when it was last asked. */
  readonly state: "starting" | "ready" | "silent" | "gone";
  /** Version of the configuration in force; "" before the first. */
  readonly configVersion: string;
  /** Open connections from clients. Key: the listener's address:port. */
  readonly connections: Readonly<Record<string, number>>;
}

export interface ClusterView {
  readonly name: string;
  /** Limits and the like, shown as `name::key::value`. */
  readonly settings: Readonly<Record<string, string | number>>;
  readonly endpoints: readonly EndpointView[];
  /** The service breaker; absent: there is none. */
  readonly breaker?: BreakerView;
}

/** A breaker, of a service or of an endpoint. */
export interface BreakerView {
  readonly state: "closed" | "half-open" | "open" | "isolated";
  /** Why it is in that state; "" where it speaks for itself. */
  readonly reason: string;
  /** How long it has been in that state, milliseconds. */
  readonly sinceMs: number;
  /** Until it changes by itself, milliseconds; 0 = it does not, or with the next request. */
  readonly remainingMs: number;
  /** What it is judged by: of the window, or (open) what it was opened by. */
  readonly requests: number;
  readonly failures: number;
  readonly slow: number;
  /** Openings in a row. */
  readonly openings: number;
  /** Share of the requests that it lets through, 0..1. */
  readonly share: number;
}

/** What GET /breakers answers. */
export interface BreakerReport {
  readonly services: readonly {
    readonly service: string;
    /** The document that set the breakers, or `default`. */
    readonly source: string | number;
    /** null: the service has none. */
    readonly breaker: BreakerView | null;
    readonly endpoints: readonly {
      /** address:port */
      readonly endpoint: string;
      readonly breaker: BreakerView | null;
    }[];
  }[];
}

export interface EndpointView {
  /** IP literal; IPv6 without brackets. */
  readonly address: string;
  readonly port: number;
  readonly isHealthy: boolean;
  /** `healthy`, or Envoy's words for why not, for example `/failed_outlier_check`. */
  readonly healthFlags: string;
  readonly weight: number;
  readonly zone: string;
  /** Counters and gauges, for example rq_total, rq_active, cx_active. */
  readonly stats: Readonly<Record<string, number>>;
  readonly breaker?: BreakerView;
}

export interface ListenerView {
  /** `inbound`, `outbound`, `upstream:api.default`, `admin` */
  readonly name: string;
  /** address:port */
  readonly address: string;
}

export interface CertificateView {
  /** SPIFFE id. */
  readonly uri: string;
  readonly serial: string;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  readonly kind: "leaf" | "root";
}
