import type { LoadBalancerConfig } from "../config/load-balancer-config.js";
import type { Clock } from "../time/clock.js";
import type { PanicRule } from "./panic.js";

/** What every picker is made from, besides its endpoints. */
export interface PickerOptions {
  readonly loadBalancer: LoadBalancerConfig;
  readonly panic: PanicRule;
  readonly random: Clock["random"];
}
