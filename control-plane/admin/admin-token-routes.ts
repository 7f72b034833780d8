import { ConfigError } from "../../src/errors/config-error.js";
import { parseDuration } from "../../src/time/duration.js";
import type { AdminReply, AdminRequest, AdminRoute } from "./admin-server.js";
import type { AdminTokens } from "./admin-tokens.js";
import type { AuditLog } from "./audit-log.js";
import { readObject } from "./read-object.js";
import { isRole, roles } from "./roles.js";

const defaultTtl = "2160h";
const defaultLimit = 100;
const maxLimit = 10_000;

/** Who may use the admin API, and who has changed what by it. */
export function adminTokenRoutes(tokens: AdminTokens, audit: AuditLog): readonly AdminRoute[] {
  return [
    {
      method: "GET",
      path: "/v1/admin-tokens",
      role: "admin",
      handle: () => ({ status: 200, body: { tokens: tokens.list() } }),
    },
    {
      method: "POST",
      path: "/v1/admin-tokens",
      role: "admin",
      handle: (request) => create(tokens, request),
    },
    {
      method: "DELETE",
      path: "/v1/admin-tokens/:name",
      role: "admin",
      handle: async ({ parameters: { name = "" } }) =>
        (await tokens.revoke(name))
          ? { status: 200, body: { revoked: name }, audit: { revoked: name } }
          : {
              status: 404,
              body: { error: `there is no admin token ${JSON.stringify(name)}`, fix: "list them first" },
            },
    },
    {
      method: "GET",
      path: "/v1/audit",
      role: "admin",
      handle: async ({ query }) => {
        const limit = Number(query.get("limit") ?? defaultLimit);
        if (!(Number.isInteger(limit) && limit >= 1 && limit <= maxLimit))
          throw new ConfigError(`limit must be a whole number from 1 to ${maxLimit}`);
        return { status: 200, body: { entries: await audit.newest(limit) } };
      },
    },
  ];
}

/** Body: {name, role, ttl?: "2160h"}. The answer is the only time that the token is shown. */
async function create(tokens: AdminTokens, { body }: AdminRequest): Promise<AdminReply> {
  const { name, role, ttl = defaultTtl } = readObject(body);
  if (typeof name !== "string") throw new ConfigError("name is missing: say who the token is for");
  if (!isRole(role)) throw new ConfigError(`role must be one of ${roles.join(", ")}`);
  const ttlMs = parseDuration(String(ttl));
  if (ttlMs === undefined)
    throw new ConfigError(`ttl ${JSON.stringify(ttl)} is not a duration, for example 24h`);
  const { token, view } = await tokens.create({ name, role, ttlMs });
  const { expiresAtMs } = view;
  return {
    status: 201,
    body: { token, ...view },
    audit: { created: { name, role, expires: new Date(expiresAtMs).toISOString() } },
  };
}
