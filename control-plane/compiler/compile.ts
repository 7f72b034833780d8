import { createHash } from "node:crypto";
import { parseClusterName } from "../../src/config/cluster-name.js";
import { canonicalJson } from "../../src/config/canonical-json.js";
import { clustersOf } from "../../src/config/clusters-of.js";
import type { InboundConfig } from "../../src/config/inbound-config.js";
import type { ClusterConfig, EndpointConfig, Snapshot, VirtualHost } from "../../src/config/snapshot.js";
import { compileCluster } from "./compile-cluster.js";
import { serviceElsewhere } from "./elsewhere.js";
import { compileEndpoints } from "./compile-endpoints.js";
import { compileInbound } from "./compile-inbound.js";
import { compileRoutes } from "./compile-routes.js";
import { claimHostnames, type HostnameClaim, ownDomains } from "./hostnames.js";
import { indexMesh, type MeshIndex } from "./mesh-index.js";
import type { MeshModel } from "./mesh-model.js";
import type { MeshNode } from "./node.js";
import { isMeshName, serviceKey, splitServiceKey } from "./service-name.js";
import { inSubset, serviceOf, subsetOf } from "./subset.js";

/** Hexadecimal digits of a version: 64 bits tell the snapshots of one mesh apart. */
const versionLength = 16;

/** What a node calls; all nodes of one namespace with the same upstreams hold the same lists. */
type Outbound = Pick<Snapshot, "virtualHosts" | "clusters" | "endpoints">;

/** Makes the snapshots of many nodes from one model; what they share is compiled once, and is the same objects. */
export class MeshCompiler {
  readonly #index: MeshIndex;
  /** By namespace of the caller and upstreams; with it the hash of the content. */
  readonly #outbounds = new Map<string, { readonly outbound: Outbound; readonly hash: string }>();
  readonly #clusters = new Map<string, ClusterConfig>();
  readonly #inbounds = new Map<string, InboundConfig>();
  readonly #endpoints = new Map<string, readonly EndpointConfig[]>();
  /** By namespace of the caller, then by service. */
  readonly #routes = new Map<string, Map<string, VirtualHost["routes"]>>();
  /** By namespace of the caller. */
  readonly #claims = new Map<string, ReadonlyMap<string, HostnameClaim>>();

  constructor(model: MeshModel) {
    this.#index = indexMesh(model);
  }

  /** Pure: the same model and node give the same snapshot, whatever the order of their lists. */
  snapshotFor(node: MeshNode): Snapshot {
    const keys = this.#upstreamsOf(node);
    const { outbound, hash } = remember(this.#outbounds, JSON.stringify([node.namespace, keys]), () => {
      const made = this.#outbound(keys, node.namespace);
      return { outbound: made, hash: hashOf(canonicalJson(made)) };
    });
    const own = serviceKey(node.service, node.namespace);
    const inbound = remember(this.#inbounds, own, () => compileInbound(this.#index, own));
    return { version: versionOf(inbound, hash), inbound, ...outbound };
  }

  #outbound(keys: readonly string[], namespace: string): Outbound {
    const virtualHosts = this.#virtualHosts(keys, namespace);
    const names = new Set<string>();
    for (const { routes } of virtualHosts) {
      for (const route of routes) for (const cluster of clustersOf(route)) names.add(cluster);
    }
    names.delete("");
    const clusterOf = (key: string): ClusterConfig =>
      remember(this.#clusters, key, () => compileCluster(this.#index, key));
    for (const key of [...names]) {
      for (const behind of clusterOf(key).failover?.clusters ?? []) names.add(behind);
    }
    const clusters = [...names].sort().map(clusterOf);
    const endpoints = new Map<string, readonly EndpointConfig[]>();
    for (const cluster of clusters) {
      const found = this.#endpointsOf(cluster);
      if (found.length > 0) endpoints.set(cluster.name, found);
    }
    return { virtualHosts, clusters, endpoints };
  }

  #virtualHosts(keys: readonly string[], namespace: string): readonly VirtualHost[] {
    const called = new Set(keys);
    const claims = remember(this.#claims, namespace, () => claimHostnames(this.#index, namespace));
    const routes = remember(this.#routes, namespace, () => new Map());
    // The own namespace's short names go before equal full names of others.
    const isOwn = (key: string): boolean => splitServiceKey(key, namespace).namespace === namespace;
    const owners = new Map<string, string>();
    const take = (domain: string, key: string): void => {
      if (!owners.has(domain)) owners.set(domain, key);
    };
    for (const key of [...keys.filter(isOwn), ...keys.filter((other) => !isOwn(other))]) {
      for (const domain of ownDomains(key, namespace)) take(domain, key);
    }
    for (const [hostname, claim] of claims) if (called.has(claim.service)) take(hostname, claim.service);
    const domains = new Map<string, string[]>();
    for (const [domain, key] of owners) remember(domains, key, () => []).push(domain);
    return keys.map((key) => ({
      name: key,
      domains: (domains.get(key) ?? []).sort(),
      routes: remember(routes, key, () => compileRoutes(this.#index, key, namespace)),
    }));
  }

  /** Declared upstreams even when the registry does not know them yet: the sidecar's local port then says 503. Sorted. */
  #upstreamsOf(node: MeshNode): readonly string[] {
    if (node.upstreams.length === 0) return this.#index.serviceKeys;
    const keys = node.upstreams
      .map((name) => splitServiceKey(name, node.namespace))
      .filter(({ service, namespace }) => isMeshName(service, namespace))
      .map(({ service, namespace }) => serviceKey(service, namespace));
    return [...new Set(keys)].sort();
  }

  #endpointsOf(cluster: ClusterConfig): readonly EndpointConfig[] {
    return remember(this.#endpoints, cluster.name, () => {
      const { services, datacenters } = this.#index;
      const { key, datacenter } = parseClusterName(cluster.name);
      const service =
        datacenter === undefined ? services.get(key) : serviceElsewhere(datacenters, { key, datacenter });
      return service === undefined
        ? []
        : compileEndpoints(
            inSubset(service, subsetOf(this.#index, cluster.name)),
            cluster.mtlsMode,
            countsDown(this.#index, cluster),
          );
    });
  }
}

/** Whether the share of instances that serve decides about anything that the document says. */
function countsDown(index: MeshIndex, { name, locality }: ClusterConfig): boolean {
  const spec = index.policies.get(serviceOf(name))?.policy.spec;
  return locality !== undefined || (spec?.failover !== undefined && spec.failoverThreshold !== undefined);
}

/** The snapshot of one node. For many nodes of one model, MeshCompiler shares the work. */
export function compileSnapshot(model: MeshModel, node: MeshNode): Snapshot {
  return new MeshCompiler(model).snapshotFor(node);
}

/** By its content: the same for equal content, whoever compiles it. */
function versionOf(inbound: InboundConfig, outboundHash: string): string {
  return hashOf(`${canonicalJson(inbound)} ${outboundHash}`).slice(0, versionLength);
}

function hashOf(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

function remember<K, V>(map: Map<K, V>, key: K, make: () => V): V {
  const known = map.get(key);
  if (known !== undefined) return known;
  const value = make();
  map.set(key, value);
  return value;
}
