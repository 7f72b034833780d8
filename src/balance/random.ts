import type { Endpoint, Picker } from "../stack/endpoint.js";
import { bestOfDraws } from "./best-of-draws.js";
import { drawByWeight } from "./draw.js";
import type { PickerOptions } from "./picker-options.js";

/** Any endpoint, by weight. */
export function randomPick<E extends Endpoint>(endpoints: readonly E[], options: PickerOptions): Picker<E> {
  const { panic, random } = options;
  const { slowStartMs } = options.loadBalancer;
  const draw = drawByWeight(endpoints, random, slowStartMs);
  return bestOfDraws(endpoints, { panic, random, draw, choices: 1, cost: () => 0, slowStartMs });
}
