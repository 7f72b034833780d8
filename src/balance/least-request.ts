import type { Endpoint, Picker } from "../stack/endpoint.js";
import { bestOfDraws } from "./best-of-draws.js";
import { drawByWeight } from "./draw.js";
import type { PickerOptions } from "./picker-options.js";

/** Envoy LeastRequestLbConfig.choice_count. */
const defaultChoices = 2;

/**
 * Of several endpoints drawn at random the one with the fewest requests under way for its weight. The first is drawn by
 * weight and stays when none of the others is less busy, so the weights hold for idle endpoints too.
 * Source: Envoy least request, N_CHOICES; for unequal weights Envoy turns to a weighted round robin instead.
 */
export function leastRequest<E extends Endpoint>(endpoints: readonly E[], options: PickerOptions): Picker<E> {
  const { panic, random } = options;
  const { slowStartMs, choiceCount: choices = defaultChoices } = options.loadBalancer;
  const draw = drawByWeight(endpoints, random, slowStartMs);
  return bestOfDraws(endpoints, { panic, random, draw, choices, cost: load, slowStartMs });
}

function load(endpoint: Endpoint): number {
  return endpoint.inflight / endpoint.config.weight;
}
