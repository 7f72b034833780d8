import type { LoadBalancerConfig } from "../config/load-balancer-config.js";
import type { Endpoint, Picker } from "../stack/endpoint.js";
import type { Clock } from "../time/clock.js";
import type { PanicRule } from "./panic.js";
import { peakEwma } from "./peak-ewma.js";
import { roundRobin } from "./round-robin.js";

/** Builds the picker of one state of an endpoint set. */
export type PickerFactory = <E extends Endpoint>(
  endpoints: readonly E[],
  panic: PanicRule,
  random: Clock["random"],
) => Picker<E>;

/** Every balancing policy by its name in the configuration. */
export const pickers: Readonly<Record<LoadBalancerConfig["policy"], PickerFactory>> = {
  peak_ewma: peakEwma,
  round_robin: roundRobin,
};
