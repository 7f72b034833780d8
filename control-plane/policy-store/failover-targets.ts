import type { TrafficPolicy } from "../../src/config/documents/traffic-policy.js";

/** One of those who serve when a service cannot. */
export interface FailoverTarget {
  /** `<service>.<namespace>` */
  readonly key: string;
  /** undefined: the control plane's own. */
  readonly datacenter: string | undefined;
}

/** Whom a policy names for the failover of `service`, which it holds for, in their order. */
export function failoverTargets(
  { spec, metadata }: TrafficPolicy,
  service: string,
): readonly FailoverTarget[] {
  return (spec.failover ?? []).map((target) => ({
    key:
      target.service === undefined ? service : `${target.service}.${target.namespace ?? metadata.namespace}`,
    datacenter: target.datacenter,
  }));
}

/** Keys of the services that a policy holds for. */
export function targetedServices({ spec, metadata }: TrafficPolicy): readonly string[] {
  return spec.targetRefs
    .filter(({ kind }) => kind === "Service")
    .map(({ name }) => `${name}.${metadata.namespace}`);
}
