import { clusterDefaults, outliersDefaults } from "../../src/config/cluster-defaults.js";
import type { OutlierDetectionSpec } from "../../src/config/documents/outlier-detection.js";
import type { BreakerConfig } from "../../src/config/breaker-config.js";
import { slowCallsOf } from "./compile-service-breaker.js";
import { milliseconds } from "./milliseconds.js";

/**
 * The endpoint breaker: the defaults, and over them what `outlierDetection` says.
 *
 * @param hasFailover another service takes over, so none has to be kept for want of a better one.
 */
export function compileBreaker(spec: OutlierDetectionSpec, hasFailover = false): BreakerConfig {
  const defaults = clusterDefaults.breaker;
  const base = spec.baseEjectionTime;
  const max = spec.maxEjectionTime;
  // One of the two may be given alone: the default of the other then follows it rather than contradict it.
  const baseEjectionMs = milliseconds(base, Math.min(defaults.baseEjectionMs, milliseconds(max, Infinity)));
  return {
    consecutiveFailures: spec.consecutive5xx ?? defaults.consecutiveFailures,
    consecutiveGatewayErrors: spec.consecutiveGatewayErrors ?? defaults.consecutiveGatewayErrors,
    consecutiveLocalOriginFailures:
      spec.consecutiveLocalOriginFailures ?? defaults.consecutiveLocalOriginFailures,
    minSuccessRatio: spec.successRate?.minimumRatio ?? defaults.minSuccessRatio,
    windowMs: milliseconds(spec.interval, defaults.windowMs),
    minRequests: spec.successRate?.requestVolume ?? defaults.minRequests,
    baseEjectionMs,
    maxEjectionMs: milliseconds(max, Math.max(defaults.maxEjectionMs, baseEjectionMs)),
    jitterRatio: defaults.jitterRatio,
    ...slowCallsOf(spec.slowCalls),
    ...outliersOf(spec.successRate),
    maxEjectionPercent: spec.maxEjectionPercent ?? (hasFailover ? 100 : defaults.maxEjectionPercent),
  };
}

/** The volume is a larger one than that of the ratio where none is given: with few requests one failure is far from the mean. */
export function outliersOf(spec: OutlierDetectionSpec["successRate"]): Pick<BreakerConfig, "outliers"> {
  if (spec?.minimumHosts === undefined && spec?.stdevFactor === undefined) return {};
  const { minimumHosts, stdevFactor, requestVolume } = spec;
  return {
    outliers: {
      minHosts: minimumHosts ?? outliersDefaults.minHosts,
      minRequests: requestVolume ?? outliersDefaults.minRequests,
      stdevFactor: stdevFactor ?? outliersDefaults.stdevFactor,
    },
  };
}
