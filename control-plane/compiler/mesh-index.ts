import type { HttpRoute, ParentRef } from "../../src/config/documents/http-route.js";
import type { TrafficPolicy } from "../../src/config/documents/traffic-policy.js";
import type { Protocol } from "../../src/config/snapshot.js";
import type { CatalogService } from "../catalog/catalog.js";
import { compareAge, idOf } from "../policy-store/stored-document.js";
import type { MeshModel } from "./mesh-model.js";
import { isMeshName, serviceKey } from "./service-name.js";

/** A route with its age. */
export interface StoredRoute {
  readonly route: HttpRoute;
  readonly id: string;
  readonly createdAtMs: number;
}

/** A policy with its id. */
export interface StoredPolicy {
  readonly policy: TrafficPolicy;
  readonly id: string;
}

/** The model arranged by service. Built once per model and shared by the snapshots of all nodes. */
export interface MeshIndex {
  readonly trustDomain: string;
  /** Services of the registry, by key. */
  readonly services: ReadonlyMap<string, CatalogService>;
  /** Every service there is: of the registry, and those that exist only as parent of a route. Sorted. */
  readonly serviceKeys: readonly string[];
  /** The policy of each service: the oldest of those that target it. */
  readonly policies: ReadonlyMap<string, StoredPolicy>;
  /** Routes by the service they are attached to, oldest first. */
  readonly attached: ReadonlyMap<string, readonly StoredRoute[]>;
}

/** Arranges a model. Names from the registry that must not become host names are left out (refusedServices). */
export function indexMesh(model: MeshModel): MeshIndex {
  const services = new Map(
    [...model.catalog.services.values()]
      .filter((service) => isMeshName(service.name, service.namespace))
      .map((service) => [serviceKey(service.name, service.namespace), service] as const),
  );
  const policies = new Map<string, StoredPolicy>();
  const attached = new Map<string, StoredRoute[]>();
  for (const stored of [...model.documents].sort(compareAge)) {
    const { document } = stored;
    if (document.kind === "TrafficPolicy") {
      for (const key of targetsOf(document)) {
        if (!policies.has(key)) policies.set(key, { policy: document, id: idOf(document) });
      }
      continue;
    }
    const entry = { route: document, id: idOf(document), createdAtMs: stored.createdAtMs };
    for (const key of parentsOf(document)) {
      const routes = attached.get(key);
      if (routes === undefined) attached.set(key, [entry]);
      else routes.push(entry);
    }
  }
  const serviceKeys = [...new Set([...services.keys(), ...attached.keys()])].sort();
  return { trustDomain: model.trustDomain, services, serviceKeys, policies, attached };
}

/**
 * What a service speaks: what its policy says, else what most instances say, while a change of protocol rolls through
 * them; of equals the first by name.
 */
export function protocolOf(index: MeshIndex, key: string): Protocol {
  const told = index.policies.get(key)?.policy.spec.protocol;
  if (told !== undefined) return told;
  const counts = new Map<Protocol, number>();
  for (const instance of index.services.get(key)?.instances ?? []) {
    counts.set(instance.protocol, (counts.get(instance.protocol) ?? 0) + 1);
  }
  const [first] = [...counts].sort(([a, x], [b, y]) => y - x || (a < b ? -1 : 1));
  return first?.[0] ?? "http";
}

/**
 * The routes that direct callers of `namespace` to the service. Routes of the callers' own namespace replace those of
 * the service's (Gateway API GEP-1426: consumer routes take precedence over producer routes).
 */
export function routesFor(index: MeshIndex, key: string, namespace: string): readonly StoredRoute[] {
  const routes = index.attached.get(key) ?? [];
  const own = routes.filter((entry) => entry.route.metadata.namespace === namespace);
  if (own.length > 0) return own;
  return routes.filter((entry) => key.endsWith(`.${entry.route.metadata.namespace}`));
}

/** Keys of the services that a policy holds for. */
export function targetsOf(policy: TrafficPolicy): readonly string[] {
  return policy.spec.targetRefs.map((target) => serviceKey(target.name, policy.metadata.namespace));
}

/** Keys of the services that a route is attached to. */
export function parentsOf(route: HttpRoute): readonly string[] {
  return route.spec.parentRefs.map((ref) => refKey(ref, route));
}

/** Key of a service that a route names, as parent or as backend. */
export function refKey(ref: Pick<ParentRef, "name" | "namespace">, route: HttpRoute): string {
  return serviceKey(ref.name, ref.namespace ?? route.metadata.namespace);
}
