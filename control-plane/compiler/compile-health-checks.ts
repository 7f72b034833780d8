import { healthCheckDefaults } from "../../src/config/cluster-defaults.js";
import type { HealthChecksSpec } from "../../src/config/documents/health-check.js";
import type { HealthCheckConfig, HealthProbeConfig } from "../../src/config/health-check-config.js";
import { probesOf } from "../policy-store/check-health-checks.js";
import { type MeshIndex, protocolOf } from "./mesh-index.js";
import { milliseconds } from "./milliseconds.js";

type CheckSpec = HealthChecksSpec[number];

/** The checks of a service's policy that it can answer: of another protocol they would call every instance unhealthy. */
export function compileHealthChecks(
  index: MeshIndex,
  key: string,
): { readonly healthChecks?: readonly HealthCheckConfig[] } {
  const specs = index.policies.get(key)?.policy.spec.healthChecks ?? [];
  const able = probesOf[protocolOf(index, key)];
  const healthChecks = specs.flatMap((spec) => {
    const probe = probeOf(spec, key);
    return able.includes(probe.type) ? [checkOf(spec, probe)] : [];
  });
  return healthChecks.length === 0 ? {} : { healthChecks };
}

function checkOf(spec: CheckSpec, probe: HealthProbeConfig): HealthCheckConfig {
  const defaults = healthCheckDefaults;
  const intervalMs = milliseconds(spec.interval, defaults.intervalMs);
  return {
    probe,
    intervalMs,
    unhealthyIntervalMs: milliseconds(spec.unhealthyInterval, intervalMs),
    // The default follows a short interval rather than contradict it.
    timeoutMs: milliseconds(spec.timeout, Math.min(defaults.timeoutMs, intervalMs)),
    unhealthyThreshold: spec.unhealthyThreshold ?? defaults.unhealthyThreshold,
    healthyThreshold: spec.healthyThreshold ?? defaults.healthyThreshold,
    initial: spec.initial ?? defaults.initial,
  };
}

function probeOf({ http, grpc }: CheckSpec, host: string): HealthProbeConfig {
  if (http !== undefined)
    return {
      type: "http",
      method: http.method ?? "GET",
      path: http.path,
      host: http.host ?? host,
      statuses: (http.expectedStatuses ?? healthCheckDefaults.statuses).map((status) =>
        typeof status === "number" ? [status, status] : [Number(status.slice(0, 3)), Number(status.slice(4))],
      ),
    };
  return grpc === undefined ? { type: "tcp" } : { type: "grpc", service: grpc.service ?? "", host };
}
