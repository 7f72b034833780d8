import { maglevDefaults } from "../config/load-balancer-config.js";
import type { Endpoint, Picker } from "../stack/endpoint.js";
import { xxHash64, type Hash64 } from "../stack/xx-hash64.js";
import { hashedName, hashedPicker, type Places } from "./hashed-place.js";
import type { PickerOptions } from "./picker-options.js";

/**
 * Consistent hashing by a table that endpoints fill in turns, each in an order of its own: shares are as even as can be and a
 * pick is one look. When one of N endpoints comes or goes, a little more than 1/N of the keys move.
 * Source: Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016, §3.4, in the form of Envoy
 * source/extensions/load_balancing_policies/maglev/maglev_lb.cc: the same table for the same endpoints, in whatever order.
 */
export function maglev<E extends Endpoint>(endpoints: readonly E[], options: PickerOptions): Picker<E> {
  const table = buildMaglev(endpoints, options.loadBalancer.maglevTableSize ?? maglevDefaults.tableSize);
  return hashedPicker(endpoints, table, options);
}

/** Tries of one key before the endpoints that remain are taken in order: more than a few are rarely unusable. */
const maxAttempts = 32;

export interface MaglevTable extends Places {
  /** Index of the endpoint of each entry. */
  readonly owner: Uint32Array;
}

/** Pure. @param size a prime. */
export function buildMaglev(endpoints: readonly Endpoint[], size: number): MaglevTable {
  const owner = new Uint32Array(size);
  if (endpoints.length > 0) fill(owner, endpoints);
  return {
    owner,
    attempts: maxAttempts,
    endpointAt: (key, attempt) => owner[entryOf(key, attempt, size)] as number,
  };
}

function fill(owner: Uint32Array, endpoints: readonly Endpoint[]): void {
  const size = owner.length;
  let total = 0;
  for (const endpoint of endpoints) total += endpoint.config.weight;
  // The order decides who comes first where two want one entry, so it must not be that of the registry.
  const rows = endpoints
    .map((endpoint, index) => ({ name: hashedName(endpoint), index, weight: endpoint.config.weight / total }))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
  const heaviest = rows.reduce((most, { weight }) => Math.max(most, weight), 0);
  const count = rows.length;
  const indexes = Uint32Array.from(rows, ({ index }) => index);
  const weights = Float64Array.from(rows, ({ weight }) => weight);
  const targets = new Float64Array(count);
  const next = Uint32Array.from(rows, ({ name }) => modulo(xxHash64(name), size));
  const skips = Uint32Array.from(rows, ({ name }) => modulo(xxHash64(name, { hi: 0, lo: 1 }), size - 1) + 1);
  const isTaken = new Uint8Array(size);
  let filled = 0;
  for (let turn = 1; filled < size; turn++) {
    for (let i = 0; i < count && filled < size; i++) {
      // The heaviest has an entry in every turn, one of a third of its weight in every third.
      if (turn * (weights[i] as number) < (targets[i] as number)) continue;
      targets[i] = (targets[i] as number) + heaviest;
      const skip = skips[i] as number;
      let entry = next[i] as number;
      while (isTaken[entry] === 1) entry = entry + skip < size ? entry + skip : entry + skip - size;
      isTaken[entry] = 1;
      owner[entry] = indexes[i] as number;
      next[i] = entry + skip < size ? entry + skip : entry + skip - size;
      filled++;
    }
  }
}

/** Further tries look elsewhere: Envoy turns over most bits of the key, `hash ^= ~0 - attempt + 1`. */
function entryOf(key: Hash64, attempt: number, size: number): number {
  if (attempt === 0) return modulo(key, size);
  return modulo({ hi: ~key.hi >>> 0, lo: (key.lo ^ -attempt) >>> 0 }, size);
}

/** Exact for every divisor up to 2^26. */
function modulo({ hi, lo }: Hash64, divisor: number): number {
  return ((hi % divisor) * (2 ** 32 % divisor) + lo) % divisor;
}
