import type { IdempotencyConfig } from "../config/idempotency-config.js";
import { duration, type Fields } from "./fields.js";

const maxInteger = 2 ** 32 - 1;
const stores = { memory: "MEMORY", redis: "REDIS" } as const;
const fallbacks = { local: "FALLBACK_LOCAL", closed: "CLOSED" } as const;

/** remora.v1.Idempotency. */
export function encodeIdempotency(config: IdempotencyConfig): object {
  const { name, source, methods, maxBodyBytes, maxRequestBytes, maxEntries, maxStoreBytes } = config;
  return {
    ...{ name, source, methods, maxBodyBytes, maxRequestBytes, maxEntries, maxStoreBytes },
    ttl: duration(config.ttlMs),
    required: config.isRequired,
    store: stores[config.store],
    onUnavailable: fallbacks[config.onUnavailable],
  };
}

/** Throws ConfigError. */
export function decodeIdempotency(fields: Fields): IdempotencyConfig {
  return {
    name: fields.requiredString("name"),
    source: fields.string("source"),
    methods: fields.strings("methods"),
    ttlMs: fields.durationMs("ttl"),
    isRequired: fields.boolean("required"),
    maxBodyBytes: fields.number("maxBodyBytes", 0, maxInteger),
    maxRequestBytes: fields.number("maxRequestBytes", 0, maxInteger),
    maxEntries: fields.number("maxEntries", 1, maxInteger),
    maxStoreBytes: fields.number("maxStoreBytes", 0, maxInteger),
    store: fields.oneOf("store", Object.values(stores)) === "REDIS" ? "redis" : "memory",
    onUnavailable: fields.oneOf("onUnavailable", Object.values(fallbacks)) === "CLOSED" ? "closed" : "local",
  };
}
