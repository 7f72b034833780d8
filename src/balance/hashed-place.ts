import { isIPv6 } from "node:net";
import type { Endpoint, Picker } from "../stack/endpoint.js";
import type { Upstream } from "../stack/upstream.js";
import type { Hash64 } from "../stack/xx-hash64.js";
import { wantedQualities } from "./panic.js";
import type { PickerOptions } from "./picker-options.js";
import { isUsable, nextUsable, openGate, untried } from "./usable.js";
import { warmth } from "./warmth.js";

/** Where the keys of requests lead: a ring or a table. */
export interface Places {
  /** How many places a key is looked for in before all that remain are taken in order. */
  readonly attempts: number;
  /** Index of the endpoint for a key at its attempt-th try, from 0. */
  endpointAt(key: Hash64, attempt: number): number;
}

/** What an endpoint is hashed by (Envoy: `address()->asString()`). */
export function hashedName({ config: { address, port } }: Endpoint): string {
  return isIPv6(address) ? `[${address}]:${port}` : `${address}:${port}`;
}

/**
 * Requests of one key go to one endpoint while it can be used, and to the one at the next place while it cannot; places do not
 * depend on who can be used, so they come back. A request without a key goes anywhere.
 */
export function hashedPicker<E extends Endpoint>(
  endpoints: readonly E[],
  places: Places,
  { panic, random, loadBalancer }: PickerOptions,
): Picker<E> {
  const { slowStartMs } = loadBalancer;
  const isItsTurn = (endpoint: E, key: Hash64, nowMs: number): boolean =>
    slowStartMs === undefined || keyShare(key) < warmth(endpoint, nowMs, slowStartMs);
  const search = (key: Hash64, wanted: number, tried: readonly Upstream[], nowMs: number): E | undefined => {
    let cold: E | undefined;
    for (let attempt = 0; attempt < places.attempts; attempt++) {
      const endpoint = endpoints[places.endpointAt(key, attempt)] as E;
      if (!isUsable(endpoint, wanted, tried, nowMs)) continue;
      if (isItsTurn(endpoint, key, nowMs)) return endpoint;
      cold ??= endpoint;
    }
    return cold ?? endpoints[nextUsable(endpoints, places.endpointAt(key, 0), wanted, tried, nowMs)];
  };
  return {
    pick(tried, nowMs, key = { hi: Math.floor(random() * 2 ** 32), lo: Math.floor(random() * 2 ** 32) }) {
      if (endpoints.length === 0) return undefined;
      const first = endpoints[places.endpointAt(key, 0)] as E;
      const best = openGate | untried;
      if (isUsable(first, best, tried, nowMs)) {
        return isItsTurn(first, key, nowMs) ? first : search(key, best, tried, nowMs);
      }
      const wanted = wantedQualities(endpoints, tried, nowMs, panic);
      return wanted < 0 ? undefined : search(key, wanted, tried, nowMs);
    },
  };
}

/**
 * 0 to 1, evenly over all keys and always the same for one: takes the place of chance where keys move by and by. Multiplied,
 * because what places the key must not also tell when it moves.
 */
export function keyShare(key: Hash64): number {
  return (Math.imul(key.lo ^ (key.hi >>> 15), 0x9e3779b1) >>> 0) / 2 ** 32;
}
