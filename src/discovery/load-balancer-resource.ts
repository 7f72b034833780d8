import type { LoadBalancerConfig } from "../config/load-balancer-config.js";
import type { ClusterConfig } from "../config/snapshot.js";
import { duration, type Fields } from "./fields.js";
import { decodeHashPolicy, encodeHashPolicy } from "./hash-policy-resource.js";
import { packAny, wire, type WireType } from "./wire.js";

type PolicyName = LoadBalancerConfig["policy"];

const maxInteger = 2 ** 32 - 1;

/** Each policy as an extension: its name there, its message, and what it says besides being there. */
const extensions: Readonly<Record<PolicyName, { readonly name: string; readonly type: WireType }>> = {
  peak_ewma: { name: "remora.peak_ewma", type: wire.remoraPeakEwma },
  round_robin: { name: "envoy.load_balancing_policies.round_robin", type: wire.roundRobin },
  random: { name: "envoy.load_balancing_policies.random", type: wire.random },
  least_request: { name: "envoy.load_balancing_policies.least_request", type: wire.leastRequest },
  ring_hash: { name: "envoy.load_balancing_policies.ring_hash", type: wire.ringHash },
  maglev: { name: "envoy.load_balancing_policies.maglev", type: wire.maglev },
};
const policyNames = Object.keys(extensions) as PolicyName[];

/** The first policy that the reader knows counts, so others than Remora fall back to round robin. */
export function encodeLoadBalancer(config: LoadBalancerConfig): object {
  const configs = [
    extension(config.policy, messageOf(config)),
    ...(config.policy === "round_robin" ? [] : [extension("round_robin", {})]),
  ];
  return {
    lbPolicy: "ROUND_ROBIN",
    loadBalancingPolicy: { policies: configs.map((typedExtensionConfig) => ({ typedExtensionConfig })) },
    commonLbConfig: { healthyPanicThreshold: { value: config.panicThresholdPercent } },
  };
}

function extension(policy: PolicyName, message: object): object {
  const { name, type } = extensions[policy];
  return { name, typedConfig: packAny(type, message) };
}

function messageOf({
  policy,
  choiceCount,
  ringHash,
  maglevTableSize,
  hashPolicy,
}: LoadBalancerConfig): object {
  const hashing = hashPolicy !== undefined && {
    consistentHashingLbConfig: { hashPolicy: hashPolicy.map(encodeHashPolicy) },
  };
  switch (policy) {
    case "least_request":
      return choiceCount === undefined ? {} : { choiceCount: { value: choiceCount } };
    case "ring_hash":
      return {
        // gRPC accepts no other, and not its absence either.
        hashFunction: "XX_HASH",
        ...(ringHash !== undefined && {
          minimumRingSize: { value: ringHash.minimumRingSize },
          maximumRingSize: { value: ringHash.maximumRingSize },
        }),
        ...hashing,
      };
    case "maglev":
      return { ...(maglevTableSize !== undefined && { tableSize: { value: maglevTableSize } }), ...hashing };
    default:
      return {};
  }
}

/** What Envoy has only for some policies, or not at all: our own message of a cluster. */
export function encodeBalancing({ loadBalancer, subset }: ClusterConfig): object {
  const { slowStartMs } = loadBalancer;
  if (slowStartMs === undefined && subset === undefined) return {};
  const slowStart = slowStartMs !== undefined && { slowStart: duration(slowStartMs) };
  return { balancing: { ...slowStart, ...(subset !== undefined && { subset }) } };
}

/** Throws ConfigError. */
export function decodeSubset(ours: Fields): Pick<ClusterConfig, "subset"> {
  const subset = ours.optionalMessage("balancing")?.optionalString("subset");
  return subset === undefined || subset === "" ? {} : { subset };
}

/** `ours` is the message of encodeBalancing's cluster. Throws ConfigError. */
export function decodeLoadBalancer(cluster: Fields, ours: Fields): LoadBalancerConfig {
  const lists = cluster.message("loadBalancingPolicy").messages("policies");
  const urls = lists.map((each) =>
    each.message("typedExtensionConfig").message("typedConfig").string("type_url"),
  );
  const at = urls.findIndex((url) => policyNames.some((each) => extensions[each].type.typeUrl === url));
  const policy = policyNames.find((each) => extensions[each].type.typeUrl === urls[at]);
  if (policy === undefined) throw cluster.error("loadBalancingPolicy", `none of ${urls.join(", ")} is known`);
  const found = lists[at]?.message("typedExtensionConfig").any("typedConfig", extensions[policy].type);
  const panic = cluster.message("commonLbConfig").message("healthyPanicThreshold");
  const balancing = ours.optionalMessage("balancing");
  return {
    policy,
    panicThresholdPercent: panic.number("value", 0, 100),
    ...(found !== undefined && decodeMessage(policy, found)),
    ...(balancing?.has("slowStart") === true && { slowStartMs: balancing.durationMs("slowStart") }),
  };
}

function decodeMessage(policy: PolicyName, fields: Fields): Partial<LoadBalancerConfig> {
  switch (policy) {
    case "least_request":
      return fields.has("choiceCount") ? { choiceCount: fields.wrapped("choiceCount", 2) } : {};
    case "ring_hash":
      return {
        ...(fields.has("minimumRingSize") && {
          ringHash: {
            minimumRingSize: fields.wrapped("minimumRingSize", 1, maxInteger),
            maximumRingSize: fields.wrapped("maximumRingSize", 1, maxInteger),
          },
        }),
        ...decodeHashing(fields),
      };
    case "maglev":
      return {
        ...(fields.has("tableSize") && { maglevTableSize: fields.wrapped("tableSize", 2, maxInteger) }),
        ...decodeHashing(fields),
      };
    default:
      return {};
  }
}

function decodeHashing(fields: Fields): Pick<LoadBalancerConfig, "hashPolicy"> {
  const hashing = fields.optionalMessage("consistentHashingLbConfig");
  return hashing === undefined ? {} : { hashPolicy: hashing.messages("hashPolicy").map(decodeHashPolicy) };
}
