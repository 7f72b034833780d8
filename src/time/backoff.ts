import type { Clock } from "./clock.js";

export interface BackoffConfig {
  /** Upper bound of the first wait, milliseconds. */
  readonly baseMs: number;
  /** Upper bound of any wait, milliseconds. */
  readonly maxMs: number;
}

/**
 * Full jitter: a uniform wait in [0, min(max, base * 2^attempt)).
 * Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015; Envoy RetryPolicy.RetryBackOff.
 *
 * @param attempt 0 for the first wait.
 */
export function fullJitterMs(config: BackoffConfig, attempt: number, random: Clock["random"]): number {
  const ceiling = Math.min(config.maxMs, config.baseMs * 2 ** Math.min(attempt, 30));
  return random() * ceiling;
}
