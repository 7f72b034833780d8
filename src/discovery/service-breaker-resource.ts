import type { ServiceBreakerConfig } from "../config/service-breaker-config.js";
import type { SlowCallsConfig } from "../config/slow-calls-config.js";
import { duration, type Fields } from "./fields.js";

const maxInteger = 2 ** 32 - 1;

/** remora.v1.ServiceBreaker */
export function encodeServiceBreaker(breaker: ServiceBreakerConfig): object {
  const { slowCalls } = breaker;
  return {
    failureRatio: breaker.failureRatio,
    ...(slowCalls !== undefined && { slowCalls: encodeSlowCalls(slowCalls) }),
    window: duration(breaker.windowMs),
    minRequests: breaker.minRequests,
    open: duration(breaker.openMs),
    maxOpen: duration(breaker.maxOpenMs),
    jitterRatio: breaker.jitterRatio,
    halfOpenRequests: breaker.halfOpenRequests,
    ramp: duration(breaker.rampMs),
  };
}

/** Throws ConfigError. */
export function decodeServiceBreaker(breaker: Fields): ServiceBreakerConfig {
  return {
    failureRatio: breaker.number("failureRatio", 0, 1),
    ...decodeSlowCalls(breaker),
    windowMs: breaker.durationMs("window"),
    minRequests: breaker.number("minRequests", 1, maxInteger),
    openMs: breaker.durationMs("open"),
    maxOpenMs: breaker.durationMs("maxOpen"),
    jitterRatio: breaker.number("jitterRatio", 0, 1),
    halfOpenRequests: breaker.number("halfOpenRequests", 1, maxInteger),
    rampMs: breaker.durationMs("ramp"),
  };
}

/** remora.v1.SlowCalls */
export function encodeSlowCalls({ thresholdMs, ratio }: SlowCallsConfig): object {
  return { threshold: duration(thresholdMs), ratio };
}

/** The field `slow_calls` of either breaker, as the part of its configuration that it is. Throws ConfigError. */
export function decodeSlowCalls(breaker: Fields): { readonly slowCalls?: SlowCallsConfig } {
  const slowCalls = breaker.optionalMessage("slowCalls");
  if (slowCalls === undefined) return {};
  return {
    slowCalls: { thresholdMs: slowCalls.durationMs("threshold"), ratio: slowCalls.number("ratio", 0, 1) },
  };
}
