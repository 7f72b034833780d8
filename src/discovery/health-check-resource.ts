import type { HealthCheckConfig, HealthProbeConfig } from "../config/health-check-config.js";
import { duration, type Fields } from "./fields.js";

const maxThreshold = 1000;

/** Part of remora.v1.Cluster. */
export function encodeHealthChecks(checks: readonly HealthCheckConfig[] | undefined): object {
  if (checks === undefined) return {};
  const healthChecks = checks.map((check) => ({
    ...encodeProbe(check.probe),
    interval: duration(check.intervalMs),
    unhealthyInterval: duration(check.unhealthyIntervalMs),
    timeout: duration(check.timeoutMs),
    unhealthyThreshold: check.unhealthyThreshold,
    healthyThreshold: check.healthyThreshold,
    startsUnhealthy: check.initial === "unhealthy",
  }));
  return { healthChecks };
}

/** Throws ConfigError. */
export function decodeHealthChecks(ours: Fields): { readonly healthChecks?: readonly HealthCheckConfig[] } {
  const healthChecks = ours.messages("healthChecks").map((check): HealthCheckConfig => ({
    probe: decodeProbe(check),
    intervalMs: check.durationMs("interval"),
    unhealthyIntervalMs: check.durationMs("unhealthyInterval"),
    timeoutMs: check.durationMs("timeout"),
    unhealthyThreshold: check.number("unhealthyThreshold", 1, maxThreshold),
    healthyThreshold: check.number("healthyThreshold", 1, maxThreshold),
    initial: check.boolean("startsUnhealthy") ? "unhealthy" : "healthy",
  }));
  return healthChecks.length === 0 ? {} : { healthChecks };
}

function encodeProbe(probe: HealthProbeConfig): object {
  switch (probe.type) {
    case "http": {
      const { method, path, host, statuses } = probe;
      return { http: { method, path, host, statuses: statuses.map(([from, to]) => ({ from, to })) } };
    }
    case "grpc":
      return { grpc: { service: probe.service, host: probe.host } };
    case "tcp":
      return { tcp: {} };
  }
}

function decodeProbe(check: Fields): HealthProbeConfig {
  const http = check.optionalMessage("http");
  if (http !== undefined)
    return {
      type: "http",
      method: http.requiredString("method"),
      path: http.requiredString("path"),
      host: http.requiredString("host"),
      statuses: http
        .messages("statuses")
        .map((range) => [range.number("from", 100, 599), range.number("to", 100, 599)] as const),
    };
  const grpc = check.optionalMessage("grpc");
  if (grpc !== undefined)
    return { type: "grpc", service: grpc.string("service"), host: grpc.requiredString("host") };
  check.message("tcp");
  return { type: "tcp" };
}
