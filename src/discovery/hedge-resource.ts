import type { HedgeConfig } from "../config/hedge-config.js";
import { duration, type Fields } from "./fields.js";

/** Hedging as the message Hedge of remora.proto. */
export function encodeHedge({ after, maxAttempts, budgetPercent }: HedgeConfig): object {
  return {
    ...(after.type === "delay"
      ? { delay: duration(after.delayMs) }
      : { latency: { percentile: after.percentile, minDelay: duration(after.minDelayMs) } }),
    maxAttempts,
    budgetPercent,
  };
}

/** Throws ConfigError. */
export function decodeHedge(fields: Fields): HedgeConfig {
  const latency = fields.optionalMessage("latency");
  return {
    after:
      latency === undefined
        ? { type: "delay", delayMs: fields.durationMs("delay") }
        : {
            type: "percentile",
            percentile: latency.number("percentile", 0, 100),
            minDelayMs: latency.durationMs("minDelay"),
          },
    maxAttempts: fields.number("maxAttempts", 1, 3),
    budgetPercent: fields.number("budgetPercent", 0, 100),
  };
}
