import { parseByteSize } from "../../src/config/byte-size.js";
import type { IdempotencySpec } from "../../src/config/documents/idempotency.js";
import type { TrafficPolicy } from "../../src/config/documents/traffic-policy.js";
import { idempotencyDefaults } from "../../src/config/idempotency-defaults.js";
import { checkUnique, type Report } from "./field-checks.js";
import type { FieldPath } from "./yaml-position.js";

const mib = 1024 * 1024;

/** Asked for where no request can have it: gRPC calls and raw TCP pass untouched. */
export function checkIdempotencyTargets({ spec }: TrafficPolicy, report: Report): void {
  const { idempotency, protocol, targetRefs } = spec;
  if (idempotency === undefined) return;
  const isGrpc = targetRefs.some(({ kind }) => kind === "GRPCRoute");
  const where = isGrpc
    ? "a GRPCRoute"
    : protocol === "grpc" || protocol === "tcp"
      ? `protocol: ${protocol}`
      : "";
  if (where !== "")
    report(["spec", "idempotency"], `means nothing for ${where}: only HTTP requests have an Idempotency-Key`);
}

/** Sizes out of range, and a store that cannot hold a single reply. */
export function checkIdempotency(spec: IdempotencySpec, path: FieldPath, report: Report): void {
  checkUnique(spec.methods ?? [], (index) => [...path, "methods", index], "method", report);
  if (spec.onUnavailable !== undefined && spec.store !== "redis")
    report([...path, "onUnavailable"], "is only for store: redis; memory is always there");
  const size = (field: "maxBodyBytes" | "maxRequestBytes" | "maxStoreBytes"): number => {
    const text = spec[field];
    return text === undefined ? idempotencyDefaults[field] : parseByteSize(text);
  };
  if (size("maxBodyBytes") > mib) report([...path, "maxBodyBytes"], "must be at most 1MiB");
  if (size("maxRequestBytes") > 16 * mib) report([...path, "maxRequestBytes"], "must be at most 16MiB");
  const storeBytes = size("maxStoreBytes");
  if (storeBytes < mib || storeBytes > 1024 * mib)
    report([...path, "maxStoreBytes"], "must be within 1MiB and 1024MiB");
  else if (storeBytes < 2 * size("maxBodyBytes"))
    report([...path, "maxStoreBytes"], "must have room for two responses of maxBodyBytes");
}
