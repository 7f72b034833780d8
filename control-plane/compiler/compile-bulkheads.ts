import type { BulkheadConfig, BulkheadsConfig } from "../../src/config/bulkhead-config.js";
import type { BulkheadSpec, BulkheadsSpec } from "../../src/config/documents/bulkheads.js";
import { priorityClasses } from "../../src/traffic/priority.js";
import { milliseconds } from "./milliseconds.js";

/** Bulkheads of a service; undefined when its policy has none. @param maxRequests of the service as a whole. */
export function compileBulkheads(
  spec: BulkheadsSpec | undefined,
  maxRequests: number,
): BulkheadsConfig | undefined {
  const entries = priorityClasses.flatMap((name) => {
    const bulkhead = spec?.[name];
    return bulkhead === undefined ? [] : [[name, compileBulkhead(bulkhead, maxRequests)] as const];
  });
  return entries.length === 0 ? undefined : Object.fromEntries(entries);
}

function compileBulkhead(spec: BulkheadSpec, whole: number): BulkheadConfig {
  const { maxRequests } = spec;
  const maxWaitMs = milliseconds(spec.maxWait, 0);
  return {
    ...(maxRequests === undefined ? {} : { maxRequests }),
    // A longer queue than what is served at once is waited for in vain more often than not.
    maxPending: maxWaitMs === 0 ? 0 : (spec.maxPending ?? maxRequests ?? whole),
    maxWaitMs,
  };
}
