import { parseByteSize } from "../../src/config/byte-size.js";
import type { IdempotencyConfig } from "../../src/config/idempotency-config.js";
import { idempotencyDefaults } from "../../src/config/idempotency-defaults.js";
import { milliseconds } from "./milliseconds.js";
import { nearestSection, type Policies } from "./policies-for.js";

/**
 * The idempotency of the nearest policy that has it; undefined when none has. It is named after what its policy is attached
 * to: a request that is repeated finds its first execution whichever match of a rule it takes.
 */
export function compileIdempotency(policies: Policies): IdempotencyConfig | undefined {
  const found = nearestSection(policies, "idempotency");
  if (found === undefined) return undefined;
  const { spec, source, target } = found;
  const size = (text: string | undefined, absent: number): number =>
    text === undefined ? absent : parseByteSize(text);
  const { methods, ttlMs, isRequired, maxBodyBytes, maxRequestBytes, maxEntries, maxStoreBytes } =
    idempotencyDefaults;
  return {
    name: target,
    source,
    methods: spec.methods ?? methods,
    ttlMs: spec.ttl === undefined ? ttlMs : milliseconds(spec.ttl, 1),
    isRequired: spec.required ?? isRequired,
    maxBodyBytes: size(spec.maxBodyBytes, maxBodyBytes),
    maxRequestBytes: size(spec.maxRequestBytes, maxRequestBytes),
    maxEntries: spec.maxEntries ?? maxEntries,
    maxStoreBytes: size(spec.maxStoreBytes, maxStoreBytes),
    store: spec.store ?? idempotencyDefaults.store,
    onUnavailable: spec.onUnavailable ?? idempotencyDefaults.onUnavailable,
  };
}
