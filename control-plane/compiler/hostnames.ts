import { type MeshIndex, parentsOf, routesFor, type StoredRoute } from "./mesh-index.js";
import { splitServiceKey } from "./service-name.js";

/** Who serves a further host name, as callers of one namespace see it. */
export interface HostnameClaim {
  /** Key of the service. */
  readonly service: string;
  /** Id of the document that claimed it: the oldest. */
  readonly source: string;
}

/** The names that a service always has; the short ones only for callers of its own namespace. Lower case. */
export function ownDomains(key: string, callerNamespace: string): readonly string[] {
  const { service, namespace } = splitServiceKey(key, callerNamespace);
  const full = [key, `${key}.mesh`];
  return namespace === callerNamespace ? [service, `${service}.mesh`, ...full] : full;
}

/**
 * Further host names by the documents that callers of `namespace` obey: each belongs to the oldest document that names
 * it, and there to its first parent.
 */
export function claimHostnames(index: MeshIndex, namespace: string): ReadonlyMap<string, HostnameClaim> {
  const claims = new Map<string, HostnameClaim>();
  for (const entry of routesInForce(index, namespace)) {
    for (const hostname of entry.route.spec.hostnames ?? []) {
      for (const service of parentsOf(entry.route)) {
        if (claims.has(hostname) || !routesFor(index, service, namespace).includes(entry)) continue;
        claims.set(hostname, { service, source: entry.id });
      }
    }
  }
  return claims;
}

/** Oldest first, each once. */
function routesInForce(index: MeshIndex, namespace: string): readonly StoredRoute[] {
  const routes = new Set<StoredRoute>();
  for (const key of index.attached.keys()) {
    for (const entry of routesFor(index, key, namespace)) routes.add(entry);
  }
  return [...routes].sort(
    (a, b) => a.createdAtMs - b.createdAtMs || (a.id < b.id ? -1 : a.id > b.id ? 1 : 0),
  );
}
