import type { TrafficPolicy } from "../../src/config/documents/traffic-policy.js";
import { maxDatacenters } from "../catalog/consul-datacenters.js";
import { type FailoverTarget, failoverTargets, targetedServices } from "../policy-store/failover-targets.js";
import { condition, type Condition } from "./condition.js";
import { serviceElsewhere } from "./elsewhere.js";
import { type MeshIndex, takesRequests } from "./mesh-index.js";
import { services, speaking } from "./service-words.js";

/** Somebody behind the services of a policy who could not take a request when it had to. */
export function failoverProblem(index: MeshIndex, policy: TrafficPolicy): Condition | undefined {
  const own = targetedServices(policy);
  const targets = own.flatMap((service) => failoverTargets(policy, service));
  const missing = targets.filter(
    ({ key, datacenter }) => isHere(index, datacenter) && !index.services.has(key),
  );
  const absent = [
    ...(missing.length === 0
      ? []
      : [`${services(keysOf(missing))} not in the registry: nothing fails over there meanwhile`]),
    ...new Set(targets.flatMap((target) => absence(index, target) ?? [])),
  ];
  if (absent.length > 0) return condition("ResolvedRefs", "False", "BackendNotFound", absent.join("; "));
  const foreign = own.flatMap((service) =>
    failoverTargets(policy, service).filter(
      ({ key }) => takesRequests(index, service) !== takesRequests(index, key),
    ),
  );
  if (foreign.length === 0) return undefined;
  const message = `${speaking(keysOf(foreign))} another protocol: nothing fails over to it`;
  return condition("ResolvedRefs", "False", "UnsupportedProtocol", message);
}

/** Why nothing fails over to another datacenter; undefined: something does, or it is not another one. */
function absence(index: MeshIndex, target: FailoverTarget): string | undefined {
  const { key, datacenter: name } = target;
  const { datacenters } = index;
  if (name === undefined || isHere(index, name)) return undefined;
  if (datacenters === undefined)
    return `datacenter ${name}: the embedded registry has no datacenters; start the control plane with --consul, or name a service`;
  const datacenter = datacenters.others.get(name);
  if (datacenter === undefined && datacenters.others.size >= maxDatacenters)
    return `datacenter ${name} is not read: policies name more than the ${maxDatacenters} that one control plane reads`;
  const reason = datacenter?.staleSince?.reason;
  if (datacenter?.isRead !== true && reason !== undefined)
    return `datacenter ${name} cannot be read, and nothing fails over to it until it can: ${reason}`;
  if (datacenter?.isRead !== true)
    return `datacenter ${name} was not read yet: nothing fails over to it until it is`;
  if (serviceElsewhere(datacenters, target) !== undefined) return undefined;
  return `service ${key} is not in datacenter ${name}: nothing fails over to it until it is`;
}

function isHere({ datacenters }: MeshIndex, name: string | undefined): boolean {
  return name === undefined || name === datacenters?.own;
}

function keysOf(targets: readonly FailoverTarget[]): readonly string[] {
  return [...new Set(targets.map(({ key }) => key))];
}
