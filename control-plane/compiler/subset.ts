import { parseClusterName } from "../../src/config/cluster-name.js";
import type { CatalogService, Instance } from "../catalog/catalog.js";
import type { MeshIndex } from "./mesh-index.js";

/** Instances of a service that stand for a part of it. */
export interface Subset {
  /** For error texts: `subset v1 (version=v1)`. */
  readonly text: string;
  readonly meta: Readonly<Record<string, string>>;
  /** Whether all instances are used while none has the metadata. */
  readonly fallsBack: boolean;
}

/** The service that a cluster belongs to. */
export function serviceOf(cluster: string): string {
  return parseClusterName(cluster).key;
}

/** Whether the service's policy names this subset; undefined is all of the service. */
export function hasSubset(index: MeshIndex, key: string, subset: string | undefined): boolean {
  if (subset === undefined) return true;
  return Object.hasOwn(index.policies.get(key)?.policy.spec.subsets ?? {}, subset);
}

/** The subset that a cluster stands for; undefined: all instances. */
export function subsetOf(index: MeshIndex, cluster: string): Subset | undefined {
  const { key, subset: name } = parseClusterName(cluster);
  const spec = index.policies.get(key)?.policy.spec;
  const meta = name === undefined ? spec?.loadBalancer?.subset : spec?.subsets?.[name]?.meta;
  if (meta === undefined) return undefined;
  const list = Object.entries(meta).map(([each, value]) => `${each}=${value}`);
  return {
    text: `subset ${name === undefined ? "" : `${name} `}(${list.join(", ")})`,
    meta,
    fallsBack: spec?.loadBalancer?.subsetFallback === "any",
  };
}

/** The service with the instances of the subset alone. */
export function inSubset(service: CatalogService, subset: Subset | undefined): CatalogService {
  if (subset === undefined) return service;
  const wanted = Object.entries(subset.meta);
  const instances = service.instances.filter(({ meta }) =>
    wanted.every(([name, value]) => Object.hasOwn(meta, name) && meta[name] === value),
  );
  return subset.fallsBack && !instances.some(isUsed) ? service : { ...service, instances };
}

function isUsed({ status }: Instance): boolean {
  return status === "passing" || status === "warning";
}
