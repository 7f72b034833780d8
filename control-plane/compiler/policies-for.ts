import type { TrafficPolicySpec } from "../../src/config/documents/traffic-policy.js";
import type { Route } from "../../src/config/documents/document.js";
import { targetText } from "../policy-store/policy-target.js";
import type { MeshIndex, StoredPolicy } from "./mesh-index.js";

/** The policies that hold for something, the nearest first. */
export type Policies = readonly StoredPolicy[];

/** The policies of a rule of a route at a service: of the rule by its name, of the whole route, of the service. */
export function policiesForRule(
  index: MeshIndex,
  key: string,
  { kind, metadata }: Route,
  ruleName: string | undefined,
): Policies {
  const { name, namespace } = metadata;
  const found = [
    ruleName === undefined
      ? undefined
      : index.targeted.get(targetText({ kind, name, sectionName: ruleName }, namespace)),
    index.targeted.get(targetText({ kind, name }, namespace)),
    index.policies.get(key),
  ];
  return found.filter((policy) => policy !== undefined);
}

/** The policies of a service where no rule of a route applies. */
export function policiesForService(index: MeshIndex, key: string): Policies {
  const policy = index.policies.get(key);
  return policy === undefined ? [] : [policy];
}

/** A section as a whole, from the nearest policy that has it, with that policy's id and the target it was found by. */
export function nearestSection<K extends keyof TrafficPolicySpec>(
  policies: Policies,
  section: K,
):
  | { readonly spec: NonNullable<TrafficPolicySpec[K]>; readonly source: string; readonly target: string }
  | undefined {
  for (const { policy, id, target } of policies) {
    const spec = policy.spec[section];
    if (spec !== undefined && spec !== null) return { spec, source: id, target };
  }
  return undefined;
}

/** A field as it was written, with the id of its document. */
export interface FoundField {
  readonly text: string;
  readonly source: string;
}

/** A field from the nearest policy that has it. */
export function nearestField(
  policies: Policies,
  pick: (spec: TrafficPolicySpec) => string | undefined,
): FoundField | undefined {
  for (const { policy, id } of policies) {
    const text = pick(policy.spec);
    if (text !== undefined) return { text, source: id };
  }
  return undefined;
}

/** A section whose fields come each from the nearest policy that has it; undefined when no policy has the section. */
export function mergedSection<K extends "retry">(policies: Policies, section: K): TrafficPolicySpec[K] {
  const found = policies.map(({ policy }) => policy.spec[section]).filter((spec) => spec !== undefined);
  return found.length === 0 ? undefined : Object.assign({}, ...found.reverse());
}
