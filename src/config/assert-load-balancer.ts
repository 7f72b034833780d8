import { ConfigError } from "../errors/config-error.js";
import { maxMaglevTableSize, maxRingSize, type LoadBalancerConfig } from "./load-balancer-config.js";
import { isPrime } from "./prime.js";

/** Refuses what a picker could not be built from, or not in bounded time. Throws ConfigError that names the path. */
export function assertLoadBalancer(config: LoadBalancerConfig, place: string): void {
  const { choiceCount = 2, ringHash, maglevTableSize = 2, slowStartMs = 1, hashPolicy } = config;
  const panic = config.panicThresholdPercent;
  check(panic >= 0 && panic <= 100, `${place}.panicThresholdPercent`, `${panic} is not within 0..100`);
  check(choiceCount >= 2, `${place}.choiceCount`, `${choiceCount} is less than 2`);
  check(slowStartMs >= 1, `${place}.slowStartMs`, `${slowStartMs} is less than 1`);
  if (ringHash !== undefined) {
    const { minimumRingSize, maximumRingSize } = ringHash;
    const isFine =
      minimumRingSize >= 1 && maximumRingSize >= minimumRingSize && maximumRingSize <= maxRingSize;
    const found = `${minimumRingSize} to ${maximumRingSize}`;
    check(isFine, `${place}.ringHash`, `${found} is not a range within 1..${maxRingSize}`);
  }
  const isSize = isPrime(maglevTableSize) && maglevTableSize <= maxMaglevTableSize;
  check(isSize, `${place}.maglevTableSize`, `${maglevTableSize} is not a prime up to ${maxMaglevTableSize}`);
  check(hashPolicy === undefined || hashPolicy.length > 0, `${place}.hashPolicy`, "is empty");
}

function check(isFine: boolean, place: string, message: string): asserts isFine {
  if (!isFine) throw new ConfigError(message, { place });
}
