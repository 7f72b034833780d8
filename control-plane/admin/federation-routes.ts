import type { Federation } from "../federation/federation.js";
import type { AdminRoute } from "./admin-server.js";
import { readObject } from "./read-object.js";

/** The other trust domains that ours believes. */
export function federationRoutes(federation: Federation): readonly AdminRoute[] {
  return [
    {
      method: "GET",
      path: "/v1/federation",
      role: "view",
      handle: () => ({ status: 200, body: { relationships: federation.views() } }),
    },
    {
      // Body: {trustDomain, endpoint, endpointSpiffeId?, bundle?}
      method: "POST",
      path: "/v1/federation",
      role: "admin",
      handle: async ({ body }) => {
        const wish = readObject(body);
        await federation.add(wish);
        const { trustDomain, endpoint, endpointSpiffeId = null } = wish;
        return {
          status: 201,
          body: { trustDomain },
          audit: { federated: { trustDomain, endpoint, endpointSpiffeId } },
        };
      },
    },
    {
      method: "DELETE",
      path: "/v1/federation/:trustDomain",
      role: "admin",
      handle: async ({ parameters: { trustDomain = "" } }) =>
        (await federation.remove(trustDomain))
          ? { status: 200, body: { removed: trustDomain }, audit: { noLongerFederated: trustDomain } }
          : {
              status: 404,
              body: {
                error: `there is no federated trust domain ${JSON.stringify(trustDomain.slice(0, 200))}`,
                fix: "list them with remora federation list",
              },
            },
    },
  ];
}
