import { splitPemCertificates } from "../certs/bundle.js";
import type { AdminView, ListenerView } from "./admin/admin-view.js";
import type { Bootstrap } from "./config/bootstrap.js";
import type { CertificateSource } from "./identity/svid.js";
import type { LatestValue } from "./lifecycle/latest-value.js";
import { qualifiedService } from "./qualified-service.js";
import type { Missing } from "./sidecar.js";
import type { Clock } from "./time/clock.js";
import type { Traffic } from "./traffic.js";
import { version } from "./version.js";

/** What the admin API may see and do of a running sidecar. */
export interface SidecarState {
  readonly bootstrap: Bootstrap;
  readonly nodeId: string;
  readonly traffic: Traffic;
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
  const { bootstrap, traffic, clock, certificates } = state;
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
      configVersion: traffic.snapshot?.version ?? "",
      staleSinceMs: state.staleSinceMs(),
      workers: traffic.workers(),
    }),
    clusters: () => traffic.clusters(),
    listeners: state.listeners,
    certificates() {
      const svid = certificates.get();
      if (svid === undefined) return [];
      const { id: uri, serial, notBeforeMs, notAfterMs } = svid;
      return [{ uri, serial, notBeforeMs, notAfterMs, kind: "leaf" as const }];
    },
    configDump: () => ({
      bootstrap,
      snapshot: traffic.snapshot,
      trustBundle: splitPemCertificates(certificates.get()?.bundlePem ?? "").length,
    }),
    logLevel: () => state.logLevel.get(),
    setLogLevel: (level) => state.logLevel.set(level),
    setHealthcheckFailing: (failing) => void (isFailing = failing),
    drive: ({ service, ...command }) =>
      traffic.drive({
        ...command,
        service: service === undefined ? undefined : qualifiedService(service, bootstrap.namespace),
      }),
    drain: state.drain,
    quit: state.quit,
  };
}
