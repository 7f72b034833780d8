import type { Endpoint, Picker } from "../stack/endpoint.js";
import { wantedQualities } from "./panic.js";
import type { PickerOptions } from "./picker-options.js";
import { isUsable, nextUsable, openGate, untried } from "./usable.js";
import { warmth } from "./warmth.js";

/**
 * One after the other, by weight, beginning anywhere: a thousand sidecars that start together do not all begin with the
 * same endpoint.
 */
export function roundRobin<E extends Endpoint>(endpoints: readonly E[], options: PickerOptions): Picker<E> {
  const weight = endpoints[0]?.config.weight;
  const isEven = endpoints.every((endpoint) => endpoint.config.weight === weight);
  const isPlain = isEven && options.loadBalancer.slowStartMs === undefined;
  return isPlain ? rotation(endpoints, options) : smoothWeighted(endpoints, options);
}

function rotation<E extends Endpoint>(endpoints: readonly E[], { panic, random }: PickerOptions): Picker<E> {
  const count = endpoints.length;
  let next = Math.floor(random() * count);
  return {
    pick(tried, nowMs) {
      if (count === 0) return undefined;
      let index = next;
      if (!isUsable(endpoints[index] as E, openGate | untried, tried, nowMs)) {
        const wanted = wantedQualities(endpoints, tried, nowMs, panic);
        if (wanted < 0) return undefined;
        index = nextUsable(endpoints, index, wanted, tried, nowMs);
      }
      next = index + 1 < count ? index + 1 : 0;
      return endpoints[index];
    },
  };
}

/**
 * Spreads the picks of a heavy endpoint instead of sending them in a row. O(endpoints) per pick.
 * Source: nginx ngx_http_upstream_round_robin, "smooth weighted round-robin balancing", 2012.
 */
function smoothWeighted<E extends Endpoint>(
  endpoints: readonly E[],
  { panic, random, loadBalancer: { slowStartMs } }: PickerOptions,
): Picker<E> {
  // Any start is as good as another: the shares do not depend on it.
  const current = Float64Array.from(endpoints, (endpoint) => random() * endpoint.config.weight);
  return {
    pick(tried, nowMs) {
      let wanted = openGate | untried;
      if (anyUnusable(endpoints, wanted, tried, nowMs)) {
        wanted = wantedQualities(endpoints, tried, nowMs, panic);
        if (wanted < 0) return undefined;
      }
      let total = 0;
      let best = -1;
      for (let i = 0; i < endpoints.length; i++) {
        const endpoint = endpoints[i] as E;
        if (!isUsable(endpoint, wanted, tried, nowMs)) continue;
        const warm = slowStartMs === undefined ? 1 : warmth(endpoint, nowMs, slowStartMs);
        const weight = endpoint.config.weight * warm;
        total += weight;
        const value = ((current[i] as number) += weight);
        if (best < 0 || value > (current[best] as number)) best = i;
      }
      if (best < 0) return undefined;
      (current[best] as number) -= total;
      return endpoints[best];
    },
  };
}

function anyUnusable<E extends Endpoint>(
  endpoints: readonly E[],
  wanted: number,
  tried: Parameters<Picker["pick"]>[0],
  nowMs: number,
): boolean {
  for (const endpoint of endpoints) if (!isUsable(endpoint, wanted, tried, nowMs)) return true;
  return false;
}
