import type { BreakerConfig } from "../config/breaker-config.js";
import { duration, type Fields } from "./fields.js";
import { decodeSlowCalls } from "./service-breaker-resource.js";

const thousandths = 1000;

/** The endpoint breaker as Envoy's OutlierDetection. */
export function encodeBreaker(breaker: BreakerConfig): object {
  const { outliers } = breaker;
  return {
    consecutive_5xx: { value: breaker.consecutiveFailures },
    enforcingConsecutive_5xx: { value: breaker.consecutiveFailures === 0 ? 0 : 100 },
    consecutiveGatewayFailure: { value: breaker.consecutiveGatewayErrors },
    enforcingConsecutiveGatewayFailure: { value: breaker.consecutiveGatewayErrors === 0 ? 0 : 100 },
    consecutiveLocalOriginFailure: { value: breaker.consecutiveLocalOriginFailures },
    enforcingConsecutiveLocalOriginFailure: { value: breaker.consecutiveLocalOriginFailures === 0 ? 0 : 100 },
    interval: duration(breaker.windowMs),
    baseEjectionTime: duration(breaker.baseEjectionMs),
    maxEjectionTime: duration(breaker.maxEjectionMs),
    maxEjectionPercent: { value: breaker.maxEjectionPercent },
    // Envoy's success rate compares endpoints with each other; its failure percentage is our ratio.
    enforcingSuccessRate: { value: outliers === undefined ? 0 : 100 },
    ...(outliers !== undefined && {
      successRateMinimumHosts: { value: outliers.minHosts },
      successRateRequestVolume: { value: outliers.minRequests },
      successRateStdevFactor: { value: Math.round(outliers.stdevFactor * thousandths) },
    }),
    failurePercentageThreshold: { value: Math.round((1 - breaker.minSuccessRatio) * 100) },
    enforcingFailurePercentage: { value: breaker.minSuccessRatio === 0 ? 0 : 100 },
    failurePercentageRequestVolume: { value: breaker.minRequests },
  };
}

/** `ours`: what OutlierDetection has no field for. Throws ConfigError. */
export function decodeBreaker(outlier: Fields, ours: Fields): BreakerConfig {
  return {
    consecutiveFailures: outlier.wrapped("consecutive_5xx", 0),
    consecutiveGatewayErrors: optionalCount(outlier, "consecutiveGatewayFailure"),
    consecutiveLocalOriginFailures: optionalCount(outlier, "consecutiveLocalOriginFailure"),
    minSuccessRatio: ours.number("minSuccessRatio", 0, 1),
    windowMs: outlier.durationMs("interval"),
    minRequests: outlier.wrapped("failurePercentageRequestVolume", 0),
    baseEjectionMs: outlier.durationMs("baseEjectionTime"),
    maxEjectionMs: outlier.durationMs("maxEjectionTime"),
    jitterRatio: ours.number("ejectionJitterRatio", 0, 1),
    ...decodeSlowCalls(ours),
    ...(outlier.has("successRateStdevFactor") && {
      outliers: {
        minHosts: outlier.wrapped("successRateMinimumHosts", 2),
        minRequests: outlier.wrapped("successRateRequestVolume", 1),
        stdevFactor: outlier.wrapped("successRateStdevFactor", 1) / thousandths,
      },
    }),
    maxEjectionPercent: outlier.wrapped("maxEjectionPercent", 0, 100),
  };
}

/** A snapshot on the disk may be older than the field. */
function optionalCount(outlier: Fields, name: string): number {
  return outlier.has(name) ? outlier.wrapped(name, 0) : 0;
}
