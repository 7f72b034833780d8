import type { LoadBalancerConfig } from "../config/load-balancer-config.js";
import type { Fields } from "./fields.js";
import { packAny, wire } from "./wire.js";

/** The first policy that the reader knows counts, so others than Remora fall back to round robin. */
export function encodeLoadBalancer({ policy, panicThresholdPercent }: LoadBalancerConfig): object {
  const peakEwma = { name: "remora.peak_ewma", typedConfig: packAny(wire.remoraPeakEwma, {}) };
  const roundRobin = {
    name: "envoy.load_balancing_policies.round_robin",
    typedConfig: packAny(wire.roundRobin, {}),
  };
  const configs = policy === "peak_ewma" ? [peakEwma, roundRobin] : [roundRobin];
  return {
    lbPolicy: "ROUND_ROBIN",
    loadBalancingPolicy: { policies: configs.map((typedExtensionConfig) => ({ typedExtensionConfig })) },
    commonLbConfig: { healthyPanicThreshold: { value: panicThresholdPercent } },
  };
}

/** Throws ConfigError. */
export function decodeLoadBalancer(cluster: Fields): LoadBalancerConfig {
  const lists = cluster.message("loadBalancingPolicy").messages("policies");
  const urls = lists.map((each) =>
    each.message("typedExtensionConfig").message("typedConfig").string("type_url"),
  );
  const known = urls.find((url) => url === wire.remoraPeakEwma.typeUrl || url === wire.roundRobin.typeUrl);
  if (known === undefined) throw cluster.error("loadBalancingPolicy", `none of ${urls.join(", ")} is known`);
  const panic = cluster.message("commonLbConfig").message("healthyPanicThreshold");
  return {
    policy: known === wire.roundRobin.typeUrl ? "round_robin" : "peak_ewma",
    panicThresholdPercent: panic.number("value", 0, 100),
  };
}
