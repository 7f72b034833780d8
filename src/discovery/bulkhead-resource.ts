import type { BulkheadConfig, BulkheadsConfig } from "../config/bulkhead-config.js";
import { priorityClasses } from "../traffic/priority.js";
import { duration, type Fields } from "./fields.js";
import { decodePriorityClass, encodePriorityClass } from "./priority-resource.js";

const maxInteger = 2 ** 32 - 1;

/** remora.v1.Bulkhead, one for each class that has one. */
export function encodeBulkheads(bulkheads: BulkheadsConfig): object[] {
  return priorityClasses.flatMap((name) => {
    const bulkhead = bulkheads[name];
    if (bulkhead === undefined) return [];
    const { maxRequests, maxPending, maxWaitMs } = bulkhead;
    return [
      {
        class: encodePriorityClass(name),
        maxRequests: maxRequests ?? 0,
        maxPending,
        maxWait: duration(maxWaitMs),
      },
    ];
  });
}

/** undefined when there is none. Throws ConfigError. */
export function decodeBulkheads(messages: readonly Fields[]): BulkheadsConfig | undefined {
  if (messages.length === 0) return undefined;
  return Object.fromEntries(
    messages.map((fields) => [decodePriorityClass(fields, "class"), decodeBulkhead(fields)] as const),
  );
}

function decodeBulkhead(fields: Fields): BulkheadConfig {
  const maxRequests = fields.number("maxRequests", 0, maxInteger);
  return {
    ...(maxRequests > 0 && { maxRequests }),
    maxPending: fields.number("maxPending", 0, maxInteger),
    maxWaitMs: fields.durationMs("maxWait"),
  };
}
