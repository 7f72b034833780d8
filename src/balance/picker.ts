import type { LoadBalancerConfig } from "../config/load-balancer-config.js";
import type { Endpoint, Picker } from "../stack/endpoint.js";
import { leastRequest } from "./least-request.js";
import { maglev } from "./maglev.js";
import { peakEwma } from "./peak-ewma.js";
import type { PickerOptions } from "./picker-options.js";
import { randomPick } from "./random.js";
import { ringHash } from "./ring-hash.js";
import { roundRobin } from "./round-robin.js";

/** Builds the picker over one state of a set of endpoints. */
export type PickerFactory = <E extends Endpoint>(
  endpoints: readonly E[],
  options: PickerOptions,
) => Picker<E>;

/** Every balancing policy by its name in the configuration. */
export const pickers: Readonly<Record<LoadBalancerConfig["policy"], PickerFactory>> = {
  peak_ewma: peakEwma,
  round_robin: roundRobin,
  random: randomPick,
  least_request: leastRequest,
  ring_hash: ringHash,
  maglev,
};

/** The picker that a cluster's configuration asks for, over the endpoints given. */
export function makePicker<E extends Endpoint>(endpoints: readonly E[], options: PickerOptions): Picker<E> {
  return pickers[options.loadBalancer.policy](endpoints, options);
}
