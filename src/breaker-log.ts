import type { EndpointConfig } from "./config/snapshot.js";
import type { BreakerEvent } from "./policy/endpoint-breaker.js";
import type { BreakerHooks } from "./proxy/cluster-breakers.js";
import type { SidecarTelemetry } from "./sidecar-telemetry.js";
import type { Log } from "./sidecar.js";

/** Counts and logs a change of an endpoint breaker: who, from what to what, why, and the figures behind it. */
export function endpointBreakerChanged(
  cluster: string,
  { address, port }: EndpointConfig,
  event: BreakerEvent,
  { telemetry, log }: { readonly telemetry: SidecarTelemetry; readonly log: Log },
): void {
  telemetry.breakerChanged(cluster, event);
  const { from, state, reason, forMs, requests, failures, slow } = event;
  log(state === "open" ? "warn" : "info", `breaker ${state}`, {
    cluster,
    endpoint: `${address}:${port}`,
    from,
    reason,
    forMs: Math.round(forMs),
    ...{ requests, failures, slow },
  });
}

/** The same for what a cluster has besides. */
export function breakerHooks(cluster: string, telemetry: SidecarTelemetry, log: Log): BreakerHooks {
  return {
    onService: (event) => {
      telemetry.serviceBreakerChanged(cluster, event);
      const { from, to, reason, detail, forMs, source } = event;
      const fields = { cluster, from, reason, detail, forMs: Math.round(forMs), source };
      log(to === "open" ? "warn" : "info", `service breaker ${to}`, fields);
    },
    onOverride: ({ action, endpoint, change, forMs }) => {
      const what = { open: "held open", close: "held closed", isolate: "isolated", reset: "reset" }[action];
      const text = change === "begun" ? `${what} by an operator` : `no longer ${what}`;
      log(change === "begun" ? "warn" : "info", `breaker ${text}`, { cluster, endpoint, change, forMs });
    },
    meters: () => telemetry.breakers.service(cluster),
    onSlowAttempt: () => void telemetry.breakers.slowAttempts(cluster).value++,
  };
}
