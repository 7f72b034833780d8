import type { AdaptiveConcurrencyConfig, LoadSheddingConfig } from "../config/load-shedding-config.js";
import { duration, type Fields } from "./fields.js";

const maxInteger = 2 ** 32 - 1;

/** remora.v1.LoadShedding. */
export function encodeLoadShedding(config: LoadSheddingConfig): object {
  const { source, defaultSharePercent, batchSharePercent, adaptive } = config;
  return {
    source,
    defaultSharePercent,
    batchSharePercent,
    ...(adaptive !== undefined && {
      adaptive: {
        minLimit: adaptive.minLimit,
        maxLimit: adaptive.maxLimit,
        tolerance: adaptive.tolerance,
        window: duration(adaptive.windowMs),
      },
    }),
  };
}

/** Throws ConfigError. */
export function decodeLoadShedding(fields: Fields): LoadSheddingConfig {
  const adaptive = fields.optionalMessage("adaptive");
  return {
    defaultSharePercent: fields.number("defaultSharePercent", 0, 100),
    batchSharePercent: fields.number("batchSharePercent", 0, 100),
    ...(adaptive !== undefined && { adaptive: decodeAdaptive(adaptive) }),
    source: fields.string("source"),
  };
}

function decodeAdaptive(fields: Fields): AdaptiveConcurrencyConfig {
  return {
    minLimit: fields.number("minLimit", 1, maxInteger),
    maxLimit: fields.number("maxLimit", 1, maxInteger),
    tolerance: fields.number("tolerance", 1, 100),
    windowMs: fields.durationMs("window"),
  };
}
