import type { Endpoint } from "../stack/endpoint.js";
import type { Clock } from "../time/clock.js";
import { warmth } from "./warmth.js";

/** Index of an endpoint drawn at random, each with the chance that its weight gives it. The set must not be empty. */
export type Draw = (nowMs: number) => number;

/** Draws again at most this often for a colder endpoint: enough for the lowest warmth, and a bound when all are cold. */
const maxRedraws = 16;

/** By weight, and by warmth where a slow start is configured. */
export function drawByWeight(
  endpoints: readonly Endpoint[],
  random: Clock["random"],
  slowStartMs: number | undefined,
): Draw {
  const weight = endpoints[0]?.config.weight;
  const isEven = endpoints.every((endpoint) => endpoint.config.weight === weight);
  const draw = isEven ? drawEvenly(endpoints, random) : drawWeighted(endpoints, random);
  return slowStartMs === undefined ? draw : drawWarm(draw, endpoints, random, slowStartMs);
}

/** Each with the same chance, and by warmth where a slow start is configured. */
export function drawEvenly(
  endpoints: readonly Endpoint[],
  random: Clock["random"],
  slowStartMs?: number,
): Draw {
  const draw: Draw = () => Math.floor(random() * endpoints.length);
  return slowStartMs === undefined ? draw : drawWarm(draw, endpoints, random, slowStartMs);
}

function drawWeighted(endpoints: readonly Endpoint[], random: Clock["random"]): Draw {
  let total = 0;
  const ends = Float64Array.from(endpoints, (endpoint) => (total += endpoint.config.weight));
  return () => {
    const point = random() * total;
    let low = 0;
    let high = ends.length - 1;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (point < (ends[middle] as number)) high = middle;
      else low = middle + 1;
    }
    return low;
  };
}

/** What a cold endpoint is refused goes to all by their chances: the shares are those of weight x warmth. */
function drawWarm(
  draw: Draw,
  endpoints: readonly Endpoint[],
  random: Clock["random"],
  slowStartMs: number,
): Draw {
  return (nowMs) => {
    let index = draw(nowMs);
    for (let i = 0; i < maxRedraws; i++) {
      const share = warmth(endpoints[index] as Endpoint, nowMs, slowStartMs);
      if (share === 1 || random() < share) return index;
      index = draw(nowMs);
    }
    return index;
  };
}
