import { formatSpiffeId, isServiceName } from "../../certs/spiffe-id.js";
import { ConfigError } from "../../src/errors/config-error.js";
import { listCertificates } from "../ca/certificate-list.js";
import { revoke, type RevokeParts, type RevokeWish } from "../ca/revoke.js";
import type { AdminReply, AdminRequest, AdminRoute } from "./admin-server.js";
import { readObject } from "./read-object.js";

const defaultLimit = 200;
const maxLimit = 10_000;
const maxReason = 500;

/**
 * What the CA has issued, and how it is taken back.
 * @param parts undefined: the certificates are Consul's.
 */
export function certificateRoutes(parts: RevokeParts | undefined): readonly AdminRoute[] {
  return [
    {
      method: "GET",
      path: "/v1/certificates",
      role: "view",
      handle: async (request) => list(ours(parts), request),
    },
    {
      method: "POST",
      path: "/v1/certificates/revoke",
      role: "admin",
      handle: async (request) => revokeWished(ours(parts), request),
    },
  ];
}

function ours(parts: RevokeParts | undefined): RevokeParts {
  if (parts !== undefined) return parts;
  throw new ConfigError(
    "this mesh's certificates are Consul's, which lists and revokes none: rotate its CA instead",
  );
}

/** Query: service, namespace, all, limit. */
async function list(parts: RevokeParts, { query }: AdminRequest): Promise<AdminReply> {
  const service = query.get("service");
  const namespace = query.get("namespace") ?? "default";
  const limit = Number(query.get("limit") ?? defaultLimit);
  if (!(Number.isInteger(limit) && limit >= 1 && limit <= maxLimit))
    throw new ConfigError(`limit must be a whole number from 1 to ${maxLimit}`);
  const { trustDomain, clock } = parts;
  const id = service === null ? undefined : formatSpiffeId({ trustDomain, ...nameOf(service, namespace) });
  const withExpired = query.get("all") === "true";
  return { status: 200, body: await listCertificates(parts, { id, withExpired, limit }, clock.wallMs()) };
}

/** Body: {serial} or {service, namespace?} or {node}, and {reason}. */
async function revokeWished(parts: RevokeParts, { body }: AdminRequest): Promise<AdminReply> {
  const { serial, service, namespace = "default", node, reason } = readObject(body);
  if (typeof reason !== "string" || reason === "" || reason.length > maxReason)
    throw new ConfigError(`reason must be text of 1 to ${maxReason} characters`);
  const wishes: readonly (RevokeWish | undefined)[] = [
    typeof serial === "string" ? { serial } : undefined,
    typeof service === "string" && typeof namespace === "string" ? nameOf(service, namespace) : undefined,
    typeof node === "string" ? { node } : undefined,
  ];
  const [wish, ...others] = wishes.filter((each) => each !== undefined);
  if (wish === undefined || others.length > 0)
    throw new ConfigError("say what to revoke by exactly one of serial, service and node");
  const result = await revoke(parts, wish, reason);
  const revoked = result.revoked.map(({ serial, id }) => ({ serial, id }));
  return { status: 200, body: result, audit: { revoked, reason, tokensVoided: result.tokensVoided } };
}

function nameOf(service: string, namespace: string): { service: string; namespace: string } {
  if (isServiceName(service) && isServiceName(namespace)) return { service, namespace };
  throw new ConfigError(`${JSON.stringify(`${service}.${namespace}`.slice(0, 200))} cannot be a service`);
}
