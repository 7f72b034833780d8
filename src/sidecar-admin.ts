import { splitPemCertificates } from "../certs/bundle.js";
import type { AdminView, ClusterView, EndpointView, ListenerView } from "./admin/admin-view.js";
import type { Bootstrap } from "./config/bootstrap.js";
import type { CertificateSource } from "./identity/svid.js";
import type { LatestValue } from "./lifecycle/latest-value.js";
import type { Cluster } from "./proxy/cluster.js";
import type { DataPlane } from "./proxy/data-plane.js";
import type { Missing } from "./sidecar.js";
import type { Clock } from "./time/clock.js";
import { version } from "./version.js";

/** What the admin API may see and do of a running sidecar. */
export interface SidecarState {
  readonly bootstrap: Bootstrap;
  readonly nodeId: string;
  readonly plane: DataPlane;
  readonly certificates: CertificateSource;
  readonly missing: LatestValue<Missing>;
  readonly listeners: () => readonly ListenerView[];
  /** Unix milliseconds since when no control plane has confirmed the configuration in force; undefined when one has. */
  readonly staleSinceMs: () => number | undefined;
  readonly isDraining: () => boolean;
  readonly drain: () => void;
  readonly quit: () => void;
  readonly logLevel: { get(): string; set(level: string): boolean };
  readonly clock: Clock;
}

export function adminView(state: SidecarState): AdminView {
  const { bootstrap, plane, clock, certificates } = state;
  const startMs = clock.monotonicMs();
  let isFailing = false;
  return {
    readiness() {
      const missing = state.missing.get();
      if (state.isDraining() || isFailing) return { isReady: false, state: "DRAINING", missing };
      return {
        isReady: missing.length === 0,
        state: missing.length === 0 ? "LIVE" : "INITIALIZING",
        missing,
      };
    },
    serverInfo: () => ({
      version,
      nodeId: state.nodeId,
      service: bootstrap.service,
      namespace: bootstrap.namespace,
      uptimeSeconds: Math.floor((clock.monotonicMs() - startMs) / 1000),
      configVersion: plane.snapshot?.version ?? "",
      staleSinceMs: state.staleSinceMs(),
    }),
    clusters: () => [...plane.clusters()].map((cluster) => clusterView(cluster, clock.monotonicMs())),
    listeners: state.listeners,
    certificates() {
      const svid = certificates.get();
      if (svid === undefined) return [];
      const { id: uri, serial, notBeforeMs, notAfterMs } = svid;
      return [{ uri, serial, notBeforeMs, notAfterMs, kind: "leaf" as const }];
    },
    configDump: () => ({
      bootstrap,
      snapshot: plane.snapshot,
      trustBundle: splitPemCertificates(certificates.get()?.bundlePem ?? "").length,
    }),
    logLevel: () => state.logLevel.get(),
    setLogLevel: (level) => state.logLevel.set(level),
    setHealthcheckFailing: (failing) => void (isFailing = failing),
    drain: state.drain,
    quit: state.quit,
  };
}

function clusterView(cluster: Cluster, nowMs: number): ClusterView {
  const { config, endpoints } = cluster;
  return {
    name: config.name,
    settings: {
      policy: config.loadBalancer.policy,
      max_requests: config.maxRequests,
      max_connections: config.maxConnections,
      mtls_mode: config.mtlsMode,
      source: config.source,
    },
    endpoints: endpoints.map((endpoint): EndpointView => {
      const breaker = endpoint.gate.describe();
      const isHealthy = endpoint.gate.isOpen(nowMs);
      return {
        address: endpoint.config.address,
        port: endpoint.config.port,
        isHealthy,
        healthFlags: breaker.state === "closed" ? "healthy" : `/failed_outlier_check (${breaker.state})`,
        weight: endpoint.config.weight,
        zone: endpoint.config.zone,
        stats: {
          rq_active: endpoint.inflight,
          rq_window: breaker.requestsInWindow,
          rq_error_window: breaker.failuresInWindow,
          ejections: breaker.ejections,
          ejected_for_ms: Math.round(breaker.remainingMs),
          latency_ms: Math.round(endpoint.latencyMs * 100) / 100,
        },
      };
    }),
  };
}
