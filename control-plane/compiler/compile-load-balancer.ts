import { clusterDefaults } from "../../src/config/cluster-defaults.js";
import type { HashPolicySpec, LoadBalancerSpec } from "../../src/config/documents/load-balancer.js";
import {
  ringHashDefaults,
  type HashPolicy,
  type HashSource,
  type LoadBalancerConfig,
} from "../../src/config/load-balancer-config.js";
import { milliseconds } from "./milliseconds.js";

/** The choice of the endpoint: the defaults, and over them what `loadBalancer` says and its policy reads. */
export function compileLoadBalancer(spec: LoadBalancerSpec): LoadBalancerConfig {
  const defaults = clusterDefaults.loadBalancer;
  const { policy = defaults.policy, slowStart, locality } = spec;
  return {
    policy,
    panicThresholdPercent: locality?.panicThreshold ?? defaults.panicThresholdPercent,
    ...ofPolicy(policy, spec),
    ...(slowStart === undefined ? {} : { slowStartMs: milliseconds(slowStart, 0) }),
  };
}

function ofPolicy(policy: LoadBalancerConfig["policy"], spec: LoadBalancerSpec): Partial<LoadBalancerConfig> {
  const { choiceCount, ringHash, maglev, hashPolicy } = spec;
  if (policy === "least_request") return choiceCount === undefined ? {} : { choiceCount };
  if (policy !== "ring_hash" && policy !== "maglev") return {};
  const size =
    policy === "ring_hash"
      ? ringHash !== undefined && { ringHash: ringSize(ringHash) }
      : maglev?.tableSize !== undefined && { maglevTableSize: maglev.tableSize };
  return { ...size, ...(hashPolicy !== undefined && { hashPolicy: hashPolicy.map(compileHashPolicy) }) };
}

/** One of the two may be given alone: the default of the other then follows it rather than contradict it. */
function ringSize(
  spec: NonNullable<LoadBalancerSpec["ringHash"]>,
): NonNullable<LoadBalancerConfig["ringHash"]> {
  const maximumRingSize = spec.maximumRingSize ?? ringHashDefaults.maximumRingSize;
  const minimumRingSize = spec.minimumRingSize ?? Math.min(ringHashDefaults.minimumRingSize, maximumRingSize);
  return { minimumRingSize, maximumRingSize };
}

function compileHashPolicy(spec: HashPolicySpec): HashPolicy {
  return { ...sourceOf(spec), isTerminal: spec.terminal ?? false };
}

function sourceOf({ header, cookie, query, sourceIdentity, sourceIP }: HashPolicySpec): HashSource {
  if (sourceIdentity === true) return { type: "sourceIdentity" };
  if (sourceIP === true) return { type: "sourceIP" };
  if (header !== undefined) return { type: "header", name: header.toLowerCase() };
  if (cookie === undefined) return { type: "query", name: query ?? "" };
  const { name, ttl, path = "/" } = cookie;
  return { type: "cookie", name, path, ...(ttl === undefined ? {} : { ttlMs: milliseconds(ttl, 0) }) };
}
