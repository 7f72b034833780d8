import { Counter, Gauge, Registry, collectDefaultMetrics } from "prom-client";
import type { RotationView } from "../ca/rotate.js";
import { rotationSteps } from "../ca/rotation-rules.js";

/** What the control plane counts itself; everything else is read at the scrape. */
export interface ControlPlaneMetrics {
  readonly registry: Registry;
  /** label type: cds | eds | lds | rds | other */
  readonly xdsPushes: Counter<"type">;
  readonly xdsRejects: Counter<"type">;
  /** label by: token | certificate | consul */
  readonly certificatesIssued: Counter<"by">;
  readonly certificatesRefused: Counter;
  readonly jwtSvidsIssued: Counter;
  /** label reason: of certs/certificate-error.ts | handshake_failed | no_http2 | own_certificate */
  readonly connectionsRefused: Counter<"reason">;
}

/** Read when Prometheus asks. Times in Unix seconds. */
export interface MetricSources {
  readonly sidecars: () => number;
  readonly documents: () => number;
  readonly policyProblems: () => number;
  readonly services: () => number;
  /** instances by status */
  readonly instances: () => ReadonlyMap<string, number>;
  /** 0 while the registry is fresh. */
  readonly registryStaleSeconds: () => number;
  /** By name of another datacenter that policies name; 0 while it is fresh. */
  readonly datacenterStaleSeconds: () => ReadonlyMap<string, number>;
  readonly certificateNotAfterSeconds: () => number;
  /** undefined when the CA is Consul's. */
  readonly ca: (() => Pick<RotationView, "step" | "lagging" | "active">) | undefined;
}

/**
 * The metrics of one control plane; two in one process share nothing. `pilot_*` are Istio's names, so that its
 * control-plane dashboard shows them.
 */
export function createControlPlaneMetrics(): ControlPlaneMetrics {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  const counter = <L extends string>(name: string, help: string, labelNames: readonly L[]): Counter<L> =>
    new Counter({ name, help, labelNames: [...labelNames], registers: [registry] });
  return {
    registry,
    xdsPushes: counter("pilot_xds_pushes", "Configuration sent, by resource type.", ["type"]),
    xdsRejects: counter("pilot_total_xds_rejects", "Configuration refused by sidecars, by resource type.", [
      "type",
    ]),
    certificatesIssued: counter("remora_cp_certificates_issued_total", "Certificates issued to sidecars.", [
      "by",
    ]),
    certificatesRefused: counter(
      "remora_cp_certificates_refused_total",
      "Certificate requests refused: bad tokens, bad requests, too many.",
      [],
    ),
    jwtSvidsIssued: counter("remora_cp_jwt_svids_issued_total", "JWT-SVIDs issued to sidecars.", []),
    connectionsRefused: counter(
      "remora_cp_connections_refused_total",
      "Connections refused before any gRPC call, by what was wrong: with the handshake, or with the client certificate.",
      ["reason"],
    ),
  };
}

/** Adds the metrics that are read at the scrape. */
export function readMetrics(registry: Registry, sources: MetricSources): void {
  const gauge: AddGauge = (name, help, read) => {
    new Gauge({
      name,
      help,
      registers: [registry],
      collect() {
        this.set(read());
      },
    });
  };
  gauge("pilot_xds", "Sidecars connected to this control plane.", sources.sidecars);
  gauge("remora_cp_documents", "Policy documents in force.", sources.documents);
  gauge("remora_cp_policy_problems", "Mistakes in the policy store.", sources.policyProblems);
  gauge("remora_cp_services", "Services in the registry.", sources.services);
  gauge(
    "remora_cp_registry_stale_seconds",
    "Time since the registry could be read last; 0 while it can.",
    sources.registryStaleSeconds,
  );
  gauge(
    "remora_cp_certificate_not_after_seconds",
    "End of life of the control plane's own certificate, Unix time.",
    sources.certificateNotAfterSeconds,
  );
  if (sources.ca !== undefined) readCaMetrics(registry, gauge, sources.ca);
  new Gauge({
    name: "remora_cp_datacenter_stale_seconds",
    help: "Time since another datacenter that policies fail over to could be read last; 0 while it can.",
    labelNames: ["datacenter"],
    registers: [registry],
    collect() {
      this.reset();
      for (const [datacenter, seconds] of sources.datacenterStaleSeconds()) this.set({ datacenter }, seconds);
    },
  });
  new Gauge({
    name: "remora_cp_instances",
    help: "Instances in the registry.",
    labelNames: ["status"],
    registers: [registry],
    collect() {
      this.reset();
      for (const [status, count] of sources.instances()) this.set({ status }, count);
    },
  });
}

type AddGauge = (name: string, help: string, read: () => number) => void;

function readCaMetrics(registry: Registry, gauge: AddGauge, ca: NonNullable<MetricSources["ca"]>): void {
  gauge("remora_cp_ca_not_after_seconds", "End of life of the CA that signs, Unix time.", () =>
    Math.floor(Date.parse(ca().active.notAfter) / 1000),
  );
  gauge(
    "remora_cp_ca_rotation_waiting",
    "Connected sidecars, and other meshes as one, that the next step of the CA's rotation waits for.",
    () => ca().lagging.length,
  );
  new Gauge({
    name: "remora_cp_ca_rotation_step",
    help: "Where the CA's rotation stands: 1 for that step, 0 for the others.",
    labelNames: ["step"],
    registers: [registry],
    collect() {
      const now = ca().step;
      for (const step of rotationSteps) this.set({ step }, step === now ? 1 : 0);
    },
  });
}
