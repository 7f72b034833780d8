import { serviceBreakerDefaults, slowCallsDefaults } from "../../src/config/cluster-defaults.js";
import type { CircuitBreakerSpec } from "../../src/config/documents/circuit-breaker.js";
import type { SlowCallsSpec } from "../../src/config/documents/slow-calls.js";
import type { ServiceBreakerConfig } from "../../src/config/service-breaker-config.js";
import type { SlowCallsConfig } from "../../src/config/slow-calls-config.js";
import { milliseconds } from "./milliseconds.js";

/** The breaker of a service: the defaults, and over them what `circuitBreaker` says. */
export function compileServiceBreaker(spec: CircuitBreakerSpec): ServiceBreakerConfig {
  const defaults = serviceBreakerDefaults;
  const { openFor, maxOpenFor } = spec;
  // One of the two may be given alone: the default of the other then follows it rather than contradict it.
  const openMs = milliseconds(openFor, Math.min(defaults.openMs, milliseconds(maxOpenFor, Infinity)));
  return {
    failureRatio: spec.failureRatio ?? defaults.failureRatio,
    ...slowCallsOf(spec.slowCalls),
    windowMs: milliseconds(spec.window, defaults.windowMs),
    minRequests: spec.minimumRequests ?? defaults.minRequests,
    openMs,
    maxOpenMs: milliseconds(maxOpenFor, Math.max(defaults.maxOpenMs, openMs)),
    jitterRatio: defaults.jitterRatio,
    halfOpenRequests: spec.halfOpenRequests ?? defaults.halfOpenRequests,
    rampMs: milliseconds(spec.ramp, defaults.rampMs),
  };
}

/** `slowCalls` of either breaker, as the part of its configuration that it is. */
export function slowCallsOf(spec: SlowCallsSpec | undefined): { readonly slowCalls?: SlowCallsConfig } {
  if (spec === undefined) return {};
  const ratio = spec.ratio ?? slowCallsDefaults.ratio;
  return { slowCalls: { thresholdMs: milliseconds(spec.threshold, 0), ratio } };
}
