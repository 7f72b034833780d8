import type { InboundConfig } from "../config/inbound-config.js";
import type { ClusterConfig, Snapshot, VirtualHost } from "../config/snapshot.js";
import { assertConsistent } from "../config/assert-consistent.js";
import { ConfigError } from "../errors/config-error.js";
import { decodeCluster, encodeCluster } from "./cluster-resource.js";
import { decodeEndpoints, encodeEndpoints } from "./endpoint-resource.js";
import type { EndpointResource } from "./endpoint-resource.js";
import { Fields } from "./fields.js";
import { decodeInbound, encodeInbound } from "./inbound-resource.js";
import { decodeListener, encodeListener } from "./listener-resource.js";
import type { ListenerResource } from "./listener-resource.js";
import { contentTypes, resource, resourceSet, setVersion, typeUrls } from "./resource.js";
import type { ResourceSet, XdsResource, XdsResources } from "./resource.js";
import { decodeRoutes, encodeRoutes } from "./route-resource.js";
import { wire } from "./wire.js";

/**
 * A snapshot as xDS resources: per virtual host a Listener and a RouteConfiguration, per cluster a Cluster and a
 * ClusterLoadAssignment (empty if the cluster has no endpoint), and the one resource of our own that binds them.
 */
export function encodeSnapshot(snapshot: Snapshot): XdsResources {
  return bindSets(snapshot, encodeOutbound(snapshot));
}

/** All of a snapshot but the resource that binds it: what sidecars that call the same services have in common. */
export function encodeOutbound({
  virtualHosts,
  clusters,
  endpoints,
}: Pick<Snapshot, "virtualHosts" | "clusters" | "endpoints">): readonly ResourceSet[] {
  const keys = new Map(clusters.map(({ name, loadBalancer }) => [name, loadBalancer.hashPolicy]));
  return [
    resourceSet(
      typeUrls.cluster,
      clusters.map((each) => resource(each.name, encodeCluster(each))),
    ),
    resourceSet(
      typeUrls.endpoint,
      clusters.map(({ name }) => resource(name, encodeEndpoints(name, endpoints.get(name) ?? []))),
    ),
    resourceSet(
      typeUrls.listener,
      virtualHosts.map(({ name }) => resource(name, encodeListener(name))),
    ),
    resourceSet(
      typeUrls.route,
      virtualHosts.map((each) =>
        resource(
          each.name,
          encodeRoutes(each, (cluster) => keys.get(cluster)),
        ),
      ),
    ),
  ];
}

/** Adds the binding resource to what encodeOutbound made of the same snapshot. */
export function bindSets(
  snapshot: Pick<Snapshot, "version" | "inbound">,
  sets: readonly ResourceSet[],
): XdsResources {
  const binding: ResourceSet = {
    typeUrl: typeUrls.snapshot,
    version: snapshot.version,
    resources: new Map([[snapshotName, resource(snapshotName, encodeBinding(snapshot, sets))]]),
  };
  return new Map([...sets, binding].map((set) => [set.typeUrl, set]));
}

/** Name of the one resource of type remora.v1.Snapshot. */
export const snapshotName = "snapshot";

/** What a remora.v1.Snapshot says. */
export interface SnapshotResource {
  readonly version: string;
  readonly inbound: InboundConfig;
  /** By type URL: what setVersion must give for the resources that make up this version. */
  readonly setVersions: ReadonlyMap<string, string>;
}

/** A resource after its check: the decoded form beside the hash of what it was decoded from. */
export interface Decoded<T> {
  readonly name: string;
  readonly hash: string;
  readonly value: T;
}

/** The decoded resources of each type, in the order in which they were received. */
export interface DecodedResources {
  readonly listeners: readonly Decoded<ListenerResource>[];
  readonly routes: ReadonlyMap<string, Decoded<VirtualHost>>;
  readonly clusters: readonly Decoded<ClusterConfig>[];
  readonly endpoints: ReadonlyMap<string, Decoded<EndpointResource>>;
}

/**
 * Puts a snapshot together, or returns undefined while resources are missing or are of another version. Throws
 * ConfigError when the parts contradict each other.
 */
export function assembleSnapshot(binding: SnapshotResource, parts: DecodedResources): Snapshot | undefined {
  const routes = allFound(parts.listeners.map(({ value }) => parts.routes.get(value.routeConfigName)));
  const endpoints = allFound(parts.clusters.map(({ name }) => parts.endpoints.get(name)));
  if (routes === undefined || endpoints === undefined) return undefined;
  const found = new Map([
    [typeUrls.listener, setVersion(parts.listeners)],
    [typeUrls.route, setVersion(routes)],
    [typeUrls.cluster, setVersion(parts.clusters)],
    [typeUrls.endpoint, setVersion(endpoints)],
  ]);
  if (contentTypes.some((typeUrl) => found.get(typeUrl) !== binding.setVersions.get(typeUrl)))
    return undefined;
  const snapshot: Snapshot = {
    version: binding.version,
    inbound: binding.inbound,
    virtualHosts: routes.map(({ value }) => value),
    clusters: parts.clusters.map(({ value }) => value),
    endpoints: new Map(endpoints.map(({ name, value }) => [name, value.endpoints])),
  };
  assertConsistent(snapshot);
  return snapshot;
}

/** The inverse of encodeSnapshot. Throws ConfigError that names the resource and the path in it. */
export function decodeSnapshot(resources: XdsResources): Snapshot {
  const of = (typeUrl: string): XdsResource[] => [...(resources.get(typeUrl)?.resources.values() ?? [])];
  const [binding] = of(typeUrls.snapshot);
  if (binding === undefined) throw new ConfigError("no snapshot resource");
  const routes = of(typeUrls.route).map((each) => decoded(each, decodeRoutes));
  const endpoints = of(typeUrls.endpoint).map((each) => decoded(each, decodeEndpoints));
  const snapshot = assembleSnapshot(decodeSnapshotResource(binding.bytes), {
    listeners: of(typeUrls.listener).map((each) => decoded(each, decodeListener)),
    routes: new Map(routes.map((each) => [each.name, each])),
    clusters: of(typeUrls.cluster).map((each) => decoded(each, decodeCluster)),
    endpoints: new Map(endpoints.map((each) => [each.name, each])),
  });
  if (snapshot === undefined) throw new ConfigError("resources are missing or belong to another version");
  return snapshot;
}

/** Checks one resource; its own name counts, not what it was said to be. */
export function decoded<T extends { readonly name: string }>(
  { bytes, hash }: Pick<XdsResource, "bytes" | "hash">,
  decode: (bytes: Buffer) => T,
): Decoded<T> {
  const value = decode(bytes);
  return { name: value.name, hash, value };
}

/** Throws ConfigError. */
export function decodeSnapshotResource(bytes: Buffer): SnapshotResource {
  const fields = Fields.decode(wire.remoraSnapshot, bytes, "snapshot");
  const sets = fields.messages("resourceSets");
  return {
    version: fields.requiredString("version"),
    inbound: decodeInbound(fields.message("inbound")),
    setVersions: new Map(sets.map((set) => [set.string("typeUrl"), set.string("version")])),
  };
}

function encodeBinding(
  { version, inbound }: Pick<Snapshot, "version" | "inbound">,
  sets: readonly ResourceSet[],
): Buffer {
  const resourceSets = sets.map((set) => ({ typeUrl: set.typeUrl, version: set.version }));
  return wire.remoraSnapshot.encode({ version, inbound: encodeInbound(inbound), resourceSets });
}

function allFound<T>(list: readonly (T | undefined)[]): readonly T[] | undefined {
  const found = list.filter((each) => each !== undefined);
  return found.length === list.length ? found : undefined;
}
