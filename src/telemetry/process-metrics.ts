import type { Clock } from "../time/clock.js";
import type { Metrics } from "./metrics.js";

/** Sets the metrics of the process itself; memory and uptime are read when scraped. Called once, at start. */
export function exposeProcess(clock: Clock, metrics: Metrics, version: string): void {
  const startMs = clock.monotonicMs();
  metrics.buildInfo.cell({ version }).value = 1;
  metrics.serverUptime.read({}, () => (clock.monotonicMs() - startMs) / 1000);
  metrics.serverMemoryHeapSize.read({}, () => process.memoryUsage().heapTotal);
  metrics.serverMemoryAllocated.read({}, () => process.memoryUsage().heapUsed);
}

/** Makes `version` the one snapshot in force. */
export function exposeConfigVersion(metrics: Metrics, version: string): void {
  metrics.configInfo.clear();
  metrics.configInfo.cell({ version }).value = 1;
}

/** What a sidecar says of its whole state. */
export interface SidecarHealth {
  readonly isLive: () => boolean;
  /** End of the certificate in use, Unix milliseconds; 0 without one. */
  readonly notAfterMs: () => number;
  /** Part of its life that it still has, 1 to 0. */
  readonly lifeLeft: () => number;
}

/** Life, drain and certificate, read when scraped. Called once, at start. */
export function exposeHealth(metrics: Metrics, { isLive, notAfterMs, lifeLeft }: SidecarHealth): void {
  metrics.serverLive.read({}, () => (isLive() ? 1 : 0));
  metrics.draining.read({}, () => (isLive() ? 0 : 1));
  metrics.certificateNotAfter.read({}, () => notAfterMs() / 1000);
  metrics.certificateLifeLeft.read({}, lifeLeft);
}
