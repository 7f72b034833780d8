import type { ClusterView, WorkerView } from "./admin/admin-view.js";
import type { ConfigTarget } from "./control-plane-link.js";
import type { TakenCalls } from "./discovery/call-reporter.js";
import type { ServedCheck } from "./identity/served-check.js";
import type { Svid } from "./identity/svid.js";
import type { LatestValue } from "./lifecycle/latest-value.js";
import type { BreakerAnswer, ServiceCommand } from "./policy/breaker-command.js";
import type { Missing, SidecarPorts } from "./sidecar.js";
import type { Metrics } from "./telemetry/metrics.js";
import type { MetricsRegistry } from "./telemetry/registry.js";

/** Whatever carries a sidecar's traffic: this process (traffic-side.ts) or several workers (worker-traffic.ts). */
export interface Traffic extends ConfigTarget {
  readonly ports: Omit<SidecarPorts, "admin">;
  /** What is still to be done before traffic can flow, besides what the control plane and the identity owe. */
  readonly missing: LatestValue<Missing>;
  /** Of this process. */
  readonly metrics: Metrics;
  /** Of all processes. */
  readonly registry: MetricsRegistry;
  /**
   * Opens the ports. Rejects with ConfigError when it cannot.
   * @param adminPort where the admin API listens by now: no endpoint is there.
   */
  open(adminPort: number): Promise<void>;
  clusters(): Promise<readonly ClusterView[]>;
  /** What was called since the last time, by all processes. */
  takeCalls(): Promise<TakenCalls>;
  /** Carries out what an operator tells the breakers, in all processes. */
  drive(command: ServiceCommand): Promise<BreakerAnswer>;
  /** Empty when this process carries the traffic. */
  workers(): readonly WorkerView[];
  /** Does the inbound listener show this certificate? */
  checkServed(svid: Svid): Promise<ServedCheck>;
  /** Accepts no more from the mesh and finishes what is under way, bounded by the bootstrap's drain timeout. */
  drainInbound(): Promise<void>;
  /** Ends everything that is left, now. */
  close(): Promise<void>;
}
