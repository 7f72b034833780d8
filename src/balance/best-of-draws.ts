import type { Endpoint, Picker } from "../stack/endpoint.js";
import type { Upstream } from "../stack/upstream.js";
import type { Clock } from "../time/clock.js";
import type { Draw } from "./draw.js";
import { wantedQualities, type PanicRule } from "./panic.js";
import { isUsable, nextUsable, openGate, untried } from "./usable.js";
import { warmth } from "./warmth.js";

export interface BestOfDrawsOptions {
  readonly panic: PanicRule;
  readonly random: Clock["random"];
  /** Draws the first, in which weights and slow start have their say; those it is compared with are any others. */
  readonly draw: Draw;
  /** How many are compared in all; 1: the first is taken. */
  readonly choices: number;
  /** What is compared: the least wins, and of equals the one drawn first. */
  readonly cost: (endpoint: Endpoint, nowMs: number) => number;
  readonly slowStartMs: number | undefined;
}

/** A drawn endpoint that cannot be taken is drawn again this often before the next one in the set stands in for it. */
const maxRedraws = 8;

/**
 * Of several endpoints drawn at random the cheapest. One in its slow start is taken only when it was drawn first: that it has
 * less to do than the others must not draw more to it than its share.
 */
export function bestOfDraws<E extends Endpoint>(
  endpoints: readonly E[],
  options: BestOfDrawsOptions,
): Picker<E> {
  const { panic, random, draw, cost, slowStartMs } = options;
  const count = endpoints.length;
  const others = Math.min(options.choices, count) - 1;
  const isWarm = (endpoint: E, nowMs: number): boolean =>
    slowStartMs === undefined || warmth(endpoint, nowMs, slowStartMs) === 1;
  const redraw = (wanted: number, tried: readonly Upstream[], nowMs: number): number => {
    for (let i = 0; i < maxRedraws; i++) {
      const index = draw(nowMs);
      if (isUsable(endpoints[index] as E, wanted, tried, nowMs)) return index;
    }
    return nextUsable(endpoints, draw(nowMs), wanted, tried, nowMs);
  };
  return {
    pick(tried, nowMs) {
      if (count === 0) return undefined;
      let wanted = openGate | untried;
      let best = draw(nowMs);
      if (!isUsable(endpoints[best] as E, wanted, tried, nowMs)) {
        wanted = wantedQualities(endpoints, tried, nowMs, panic);
        if (wanted < 0) return undefined;
        best = redraw(wanted, tried, nowMs);
      }
      for (let i = 0; i < others; i++) {
        let index = Math.floor(random() * (count - 1));
        if (index >= best) index++;
        const other = endpoints[index] as E;
        if (cost(other, nowMs) >= cost(endpoints[best] as E, nowMs)) continue;
        if (isUsable(other, wanted, tried, nowMs) && isWarm(other, nowMs)) best = index;
      }
      return endpoints[best];
    },
  };
}
