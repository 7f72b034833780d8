import type { AuthorizationPolicy } from "../../src/config/documents/authorization-policy.js";
import type { PeerAuthentication } from "../../src/config/documents/peer-authentication.js";
import type { Verdict } from "../../src/config/authorization-config.js";
import type { OtherDatacenters } from "../catalog/other-datacenters.js";
import type { ConnectProtocols } from "../catalog/consul-protocols.js";
import type { Intentions } from "../catalog/intention.js";
import type { Route } from "../../src/config/documents/document.js";
import type { TrafficPolicy } from "../../src/config/documents/traffic-policy.js";
import type { Protocol } from "../../src/config/snapshot.js";
import type { CatalogService } from "../catalog/catalog.js";
import { failoverTargets } from "../policy-store/failover-targets.js";
import { targetText } from "../policy-store/policy-target.js";
import { compareAge, idOf } from "../policy-store/stored-document.js";
import type { MeshModel } from "./mesh-model.js";
import { serviceElsewhere } from "./elsewhere.js";
import { isMeshName, serviceKey, splitServiceKey } from "./service-name.js";

/** A route with its age. */
export interface StoredRoute {
  readonly route: Route;
  readonly id: string;
  readonly createdAtMs: number;
}

/** A policy with its id. */
export interface StoredPolicy {
  readonly policy: TrafficPolicy;
  readonly id: string;
  /** The one of its targets that it was found by (targetText). */
  readonly target: string;
}

/** The model arranged by service. Built once per model and shared by the snapshots of all nodes. */
export interface MeshIndex {
  readonly trustDomain: string;
  readonly datacenter: string | undefined;
  /** Consul's other ones; undefined: the registry has none. */
  readonly datacenters: OtherDatacenters | undefined;
  /** Services of the registry, by key, and those that have instances only where they fail over to. */
  readonly services: ReadonlyMap<string, CatalogService>;
  /** Every service there is: of the registry, and those that exist only as parent of a route. Sorted. */
  readonly serviceKeys: readonly string[];
  /** What each service of the registry or of a policy speaks. */
  readonly protocols: ReadonlyMap<string, Protocol>;
  /** The policy of each service: the oldest of those that target it. */
  readonly policies: ReadonlyMap<string, StoredPolicy>;
  /** The policy of each target by its text (targetText), services included: the oldest. */
  readonly targeted: ReadonlyMap<string, StoredPolicy>;
  /** Who may do what, oldest first. */
  readonly authorization: readonly AuthorizationPolicy[];
  /** Consul's word on the same; undefined: it is not asked. */
  readonly intentions: Intentions | undefined;
  /** Who takes plaintext, oldest first. */
  readonly peerAuthentication: readonly PeerAuthentication[];
  /** Of what no policy speaks about. */
  readonly defaultAction: Verdict;
  /** Every route, by id. */
  readonly routes: ReadonlyMap<string, Route>;
  /** Routes by the service they are attached to, oldest first. */
  readonly attached: ReadonlyMap<string, readonly StoredRoute[]>;
  /** Routes by the services that their rules send to. */
  readonly backing: ReadonlyMap<string, ReadonlySet<StoredRoute>>;
}

/** Arranges a model. Names from the registry that must not become host names are left out (refusedServices). */
export function indexMesh(model: MeshModel): MeshIndex {
  const services = new Map(
    [...model.catalog.services.values()]
      .filter((service) => isMeshName(service.name, service.namespace))
      .map((service) => [serviceKey(service.name, service.namespace), service] as const),
  );
  const policies = new Map<string, StoredPolicy>();
  const targeted = new Map<string, StoredPolicy>();
  const authorization: AuthorizationPolicy[] = [];
  const peerAuthentication: PeerAuthentication[] = [];
  const routes = new Map<string, Route>();
  const attached = new Map<string, StoredRoute[]>();
  const backing = new Map<string, Set<StoredRoute>>();
  for (const stored of [...model.documents].sort(compareAge)) {
    const { document } = stored;
    if (document.kind === "TrafficPolicy") {
      const { namespace } = document.metadata;
      for (const target of document.spec.targetRefs) {
        const text = targetText(target, namespace);
        if (targeted.has(text)) continue;
        const owner = { policy: document, id: idOf(document), target: text };
        targeted.set(text, owner);
        if (target.kind === "Service") policies.set(serviceKey(target.name, namespace), owner);
      }
      continue;
    }
    if (document.kind === "PeerAuthentication") {
      peerAuthentication.push(document);
      continue;
    }
    if (document.kind === "AuthorizationPolicy") {
      authorization.push(document);
      continue;
    }
    routes.set(idOf(document), document);
    const entry = { route: document, id: idOf(document), createdAtMs: stored.createdAtMs };
    for (const key of backendsOf(document)) {
      const entries = backing.get(key);
      if (entries === undefined) backing.set(key, new Set([entry]));
      else entries.add(entry);
    }
    for (const key of parentsOf(document)) {
      const entries = attached.get(key);
      if (entries === undefined) attached.set(key, [entry]);
      else entries.push(entry);
    }
  }
  const { datacenters } = model;
  // Nobody serves it here any more, but it is called by its name still.
  for (const [key, owner] of policies) {
    const { service: name, namespace } = splitServiceKey(key, "default");
    const isElsewhere = failoverTargets(owner.policy, key).some(
      (target) => target.key === key && serviceElsewhere(datacenters, target) !== undefined,
    );
    if (isElsewhere && !services.has(key)) services.set(key, { name, namespace, instances: [] });
  }
  const serviceKeys = [...new Set([...services.keys(), ...attached.keys()])].sort();
  // Instances elsewhere say what a service speaks while there are none here.
  const speaking = new Map(services);
  for (const { services: elsewhere } of datacenters?.others.values() ?? []) {
    for (const [key, service] of elsewhere)
      if ((speaking.get(key)?.instances.length ?? 0) === 0) speaking.set(key, service);
  }
  const protocols = new Map([
    ...[...speaking].map(
      ([key, service]) => [key, declaredProtocol(service, model.connectProtocols)] as const,
    ),
    ...[...policies].flatMap(([key, { policy }]) =>
      policy.spec.protocol === undefined ? [] : [[key, policy.spec.protocol] as const],
    ),
  ]);
  const { trustDomain, datacenter, intentions, defaultAction = "allow" } = model;
  return {
    ...{ trustDomain, datacenter, datacenters, services, serviceKeys, protocols, policies, targeted },
    ...{ routes, attached, backing, authorization, peerAuthentication, intentions, defaultAction },
  };
}

/**
 * What most instances speak, while a change of protocol rolls through them; of equals the first by name. Where instances do
 * not say, Consul does if it is asked.
 */
function declaredProtocol(service: CatalogService, consul: ConnectProtocols | undefined): Protocol {
  if (consul !== undefined && !service.instances.some(({ meta }) => "protocol" in meta))
    return consul.services.get(service.name) ?? consul.otherwise;
  const counts = new Map<Protocol, number>();
  for (const { protocol } of service.instances) counts.set(protocol, (counts.get(protocol) ?? 0) + 1);
  const [first] = [...counts].sort(([a, x], [b, y]) => y - x || (a < b ? -1 : 1));
  return first?.[0] ?? "http";
}

/** What a service speaks; http while nobody says. */
export function protocolOf(index: MeshIndex, key: string): Protocol {
  return index.protocols.get(key) ?? "http";
}

/** Whether requests can be sent to a service: bytes of another protocol are no requests. */
export function takesRequests(index: MeshIndex, key: string): boolean {
  return protocolOf(index, key) !== "tcp";
}

/**
 * The routes that direct callers of `namespace` to the service. Routes of the callers' own namespace replace those of
 * the service's (Gateway API GEP-1426: consumer routes take precedence over producer routes).
 * A service that takes no requests has none.
 */
export function routesFor(index: MeshIndex, key: string, namespace: string): readonly StoredRoute[] {
  if (!takesRequests(index, key)) return [];
  const routes = index.attached.get(key) ?? [];
  const own = routes.filter((entry) => entry.route.metadata.namespace === namespace);
  if (own.length > 0) return own;
  return routes.filter((entry) => key.endsWith(`.${entry.route.metadata.namespace}`));
}

/** Keys of the services that a route is attached to. */
export function parentsOf(route: Route): readonly string[] {
  return route.spec.parentRefs.map((ref) => refKey(ref, route));
}

function backendsOf(route: Route): readonly string[] {
  return route.spec.rules.flatMap((rule) => (rule.backendRefs ?? []).map((ref) => refKey(ref, route)));
}

/** Key of a service that a route names, as parent or as backend. */
export function refKey(
  ref: { readonly name: string; readonly namespace?: string | undefined },
  route: Route,
): string {
  return serviceKey(ref.name, ref.namespace ?? route.metadata.namespace);
}
