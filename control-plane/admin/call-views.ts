import type { CallTable, ServiceCalls } from "../observation/call-table.js";

/** Answer of GET /v1/calls. */
export interface CallsView {
  readonly trustDomain: string;
  readonly services: readonly ServiceCalls[];
}

/** @param of one namespace, or one service of it; all when absent. */
export function viewCalls(
  table: CallTable,
  trustDomain: string,
  of: { readonly namespace?: string | undefined; readonly service?: string | undefined },
): CallsView {
  const services = table
    .services()
    .filter(
      ({ namespace, service }) =>
        (of.namespace === undefined || namespace === of.namespace) &&
        (of.service === undefined || service === of.service),
    );
  return { trustDomain, services };
}
