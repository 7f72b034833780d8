import { createHash } from "node:crypto";
import { ConfigError } from "../errors/config-error.js";
import { wire } from "./wire.js";

/**
 * The resource types of a snapshot. One of our own, snapshot, comes last and names the versions of the other four: a
 * sidecar applies only what it names, never half of a change. Apart from them stands trust, the same for all sidecars.
 */
export const typeUrls = {
  listener: wire.listener.typeUrl,
  route: wire.routeConfiguration.typeUrl,
  cluster: wire.cluster.typeUrl,
  endpoint: wire.clusterLoadAssignment.typeUrl,
  snapshot: wire.remoraSnapshot.typeUrl,
  trust: wire.remoraTrust.typeUrl,
} as const;

/** The types that a snapshot resource names, in the order in which additions are sent (Envoy xDS protocol, "eventual
 * consistency considerations": clusters, endpoints, listeners, routes). */
export const contentTypes: readonly string[] = [
  typeUrls.cluster,
  typeUrls.endpoint,
  typeUrls.listener,
  typeUrls.route,
];

/** One encoded resource. */
export interface XdsResource {
  readonly name: string;
  readonly bytes: Buffer;
  /** Hash of the bytes. */
  readonly hash: string;
}

/** All resources of one type. */
export interface ResourceSet {
  readonly typeUrl: string;
  /** Hash of all names and contents: what goes into version_info. */
  readonly version: string;
  /** By name, in the snapshot's order. */
  readonly resources: ReadonlyMap<string, XdsResource>;
}

/** By type URL; always all five types of a snapshot. */
export type XdsResources = ReadonlyMap<string, ResourceSet>;

export function resource(name: string, bytes: Buffer): XdsResource {
  return { name, bytes, hash: createHash("sha256").update(bytes).digest("base64url").slice(0, 22) };
}

/** Throws when two resources have one name: the later would silently replace the earlier. */
export function resourceSet(typeUrl: string, resources: readonly XdsResource[]): ResourceSet {
  const byName = new Map(resources.map((each) => [each.name, each]));
  if (byName.size !== resources.length) {
    const seen = new Set<string>();
    const twice = resources.find((each) => seen.size === seen.add(each.name).size)?.name;
    throw new ConfigError(`two resources of ${typeUrl} are named ${twice ?? ""}`);
  }
  return { typeUrl, version: setVersion(byName.values()), resources: byName };
}

/** Equal resources in equal order, equal version: the order is part of a snapshot. */
export function setVersion(resources: Iterable<Pick<XdsResource, "name" | "hash">>): string {
  const lines = [...resources].map(({ name, hash }) => `${JSON.stringify(name)} ${hash}\n`);
  const digest = createHash("sha256").update(lines.join(""));
  return digest.digest("base64url").slice(0, 22);
}
