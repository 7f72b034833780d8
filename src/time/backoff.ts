import type { Clock } from "./clock.js";

export interface BackoffConfig {
  /** Upper bound of the first wait, milliseconds. */
  readonly baseMs: number;
  /** Upper bound of any wait, milliseconds. */
  readonly maxMs: number;
}

/** What chance does with a wait: draws all of it, nothing, or its second half. */
export type Jitter = "full" | "none" | "equal";

/** How waits grow, and what chance does with them. */
export interface GrowingBackoff extends BackoffConfig {
  /** What each wait's bound is multiplied with for the next, >= 1. */
  readonly factor: number;
  readonly jitter: Jitter;
}

/**
 * Full jitter: a uniform wait in [0, min(max, base * 2^attempt)).
 * Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015; Envoy RetryPolicy.RetryBackOff.
 *
 * @param attempt 0 for the first wait.
 */
export function fullJitterMs(config: BackoffConfig, attempt: number, random: Clock["random"]): number {
  return random() * ceilingMs(config, attempt, 2);
}

/**
 * The wait of a schedule: its bound is min(max, base * factor^attempt); without jitter it is the wait itself, with equal
 * jitter half of it is certain (the same source).
 *
 * @param attempt 0 for the first wait.
 */
export function growingBackoffMs(config: GrowingBackoff, attempt: number, random: Clock["random"]): number {
  const ceiling = ceilingMs(config, attempt, config.factor);
  switch (config.jitter) {
    case "full":
      return random() * ceiling;
    case "equal":
      return (ceiling * (1 + random())) / 2;
    case "none":
      return ceiling;
  }
}

function ceilingMs({ baseMs, maxMs }: BackoffConfig, attempt: number, factor: number): number {
  return Math.min(maxMs, baseMs * factor ** Math.min(attempt, 30));
}

/**
 * base * 2^attempt, spread by the jitter so that many who began together do not end together, and never above the maximum.
 *
 * @param attempt 0 for the first. @param chance uniform in [0, 1). @param jitterRatio 0..1: added or taken at most.
 */
export function spreadBackoffMs(
  config: BackoffConfig & { readonly jitterRatio: number },
  attempt: number,
  chance: number,
): number {
  const plainMs = Math.min(config.maxMs, config.baseMs * 2 ** Math.min(attempt, 30));
  return Math.min(config.maxMs, plainMs * (1 + config.jitterRatio * (2 * chance - 1)));
}
