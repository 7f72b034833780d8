import { ringHashDefaults, type RingHashConfig } from "../config/load-balancer-config.js";
import type { Endpoint, Picker } from "../stack/endpoint.js";
import { xxHash64, type Hash64 } from "../stack/xx-hash64.js";
import { hashedName, hashedPicker, type Places } from "./hashed-place.js";
import type { PickerOptions } from "./picker-options.js";

/**
 * Consistent hashing: endpoints stand at many places of a ring, by weight, and a key goes to the first at or after its own
 * place. When one of N endpoints comes or goes, 1/N to 2/N of the keys move: how many places an endpoint has depends on N.
 * Source: Envoy source/extensions/load_balancing_policies/ring_hash/ring_hash_lb.cc, which is libketama's: the same ring for the
 * same endpoints in the same order, and the same choice for the same key.
 */
export function ringHash<E extends Endpoint>(endpoints: readonly E[], options: PickerOptions): Picker<E> {
  const ring = buildRing(endpoints, options.loadBalancer.ringHash ?? ringHashDefaults);
  return hashedPicker(endpoints, ring, options);
}

/** The ring: places in ascending order, as parallel arrays. */
export interface Ring extends Places {
  readonly hi: Uint32Array;
  readonly lo: Uint32Array;
  /** Index of the endpoint that stands there. */
  readonly owner: Uint32Array;
}

/** Pure. The time it takes grows with the places: for the most there can be it stays below 50 ms. */
export function buildRing(endpoints: readonly Endpoint[], size: RingHashConfig): Ring {
  let total = 0;
  for (const endpoint of endpoints) total += endpoint.config.weight;
  const shares = endpoints.map((endpoint) => endpoint.config.weight / total);
  const least = Math.min(1, ...shares);
  // As many places that the lightest endpoint has a whole number of them, unless that are too many.
  const scale = Math.min(Math.ceil(least * size.minimumRingSize) / least, size.maximumRingSize);
  const unsorted = new PlaceList(Math.ceil(scale) + 1);
  let target = 0;
  endpoints.forEach((endpoint, index) => {
    target += scale * (shares[index] as number);
    const name = hashedName(endpoint);
    for (let i = 0; unsorted.length < target; i++) unsorted.add(xxHash64(`${name}_${i}`), index);
  });
  const { hi, lo, owner } = unsorted.sorted();
  return {
    hi,
    lo,
    owner,
    attempts: owner.length,
    endpointAt: (key, attempt) => owner[(firstAtOrAfter(key, hi, lo) + attempt) % owner.length] as number,
  };
}

/** Numbers up to it fit beside the upper half of a hash into the 53 bits that a number holds exactly. */
const packing = 2 ** 20;

/** Places in the order in which they were found, no more than `capacity`. */
class PlaceList {
  length = 0;
  readonly #hi: Uint32Array;
  readonly #lo: Uint32Array;
  readonly #owner: Uint32Array;

  constructor(capacity: number) {
    this.#hi = new Uint32Array(capacity);
    this.#lo = new Uint32Array(capacity);
    this.#owner = new Uint32Array(capacity);
  }

  add({ hi, lo }: Hash64, owner: number): void {
    const at = this.length++;
    this.#hi[at] = hi;
    this.#lo[at] = lo;
    this.#owner[at] = owner;
  }

  /** By hash. Numbers are sorted natively; only equal upper halves need a look at the lower ones. */
  sorted(): Pick<Ring, "hi" | "lo" | "owner"> {
    const { length } = this;
    const packed = new Float64Array(length);
    for (let i = 0; i < length; i++) packed[i] = (this.#hi[i] as number) * packing + i;
    packed.sort();
    const hi = new Uint32Array(length);
    const lo = new Uint32Array(length);
    const owner = new Uint32Array(length);
    for (let i = 0; i < length; i++) {
      const from = (packed[i] as number) % packing;
      const lower = this.#lo[from] as number;
      hi[i] = this.#hi[from] as number;
      let at = i;
      for (; at > 0 && hi[at - 1] === hi[i] && (lo[at - 1] as number) > lower; at--) {
        lo[at] = lo[at - 1] as number;
        owner[at] = owner[at - 1] as number;
      }
      lo[at] = lower;
      owner[at] = this.#owner[from] as number;
    }
    return { hi, lo, owner };
  }
}

/** Place 0 comes after the last one. */
function firstAtOrAfter({ hi: keyHi, lo: keyLo }: Hash64, hi: Uint32Array, lo: Uint32Array): number {
  let low = 0;
  let high = hi.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const upper = hi[middle] as number;
    if (upper < keyHi || (upper === keyHi && (lo[middle] as number) < keyLo)) low = middle + 1;
    else high = middle;
  }
  return low === hi.length ? 0 : low;
}
