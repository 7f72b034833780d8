import type { CallTable } from "../observation/call-table.js";
import type { AdminRoute } from "./admin-server.js";
import { viewCalls } from "./call-views.js";

/** What the routes about observed calls show. */
export interface PolicySubject {
  readonly observed: CallTable;
  readonly trustDomain: string;
}

/** What was called, and what policies would say to it. */
export function policyRoutes({ observed, trustDomain }: PolicySubject): readonly AdminRoute[] {
  return [
    {
      method: "GET",
      path: "/v1/calls/:namespace?/:service?",
      role: "view",
      handle: ({ parameters: { namespace, service } }) => ({
        status: 200,
        body: viewCalls(observed, trustDomain, { namespace, service }),
      }),
    },
  ];
}
