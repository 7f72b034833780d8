import { randomInt } from "node:crypto";

/** A power of two. */
const bucketCount = 4096;
/** So that no peer can choose names that all fall into one bucket. */
const seed = randomInt(2 ** 31);

interface Entry<V> {
  readonly name: string;
  readonly value: V;
  next: Entry<V> | null;
}

/**
 * Values by name, for names that come and go with requests. A `Map` leaves tables behind that hold on to each other and, once one
 * is old, to everything that was in them (http2/stream-table.ts); here what is deleted points to nothing.
 */
export class NameTable<V> {
  readonly #buckets: (Entry<V> | null)[] = new Array<Entry<V> | null>(bucketCount).fill(null);
  #size = 0;

  get size(): number {
    return this.#size;
  }

  get(name: string): V | undefined {
    let entry = this.#buckets[bucketOf(name)] ?? null;
    while (entry !== null && entry.name !== name) entry = entry.next;
    return entry?.value;
  }

  /** The name must not be there yet. */
  add(name: string, value: V): void {
    const bucket = bucketOf(name);
    this.#buckets[bucket] = { name, value, next: this.#buckets[bucket] ?? null };
    this.#size++;
  }

  delete(name: string): void {
    const bucket = bucketOf(name);
    let before: Entry<V> | null = null;
    let entry = this.#buckets[bucket] ?? null;
    while (entry !== null && entry.name !== name) [before, entry] = [entry, entry.next];
    if (entry === null) return;
    if (before === null) this.#buckets[bucket] = entry.next;
    else before.next = entry.next;
    entry.next = null;
    this.#size--;
  }
}

/** FNV-1a over the code units. */
function bucketOf(name: string): number {
  let hash = seed;
  for (let i = 0; i < name.length; i++) hash = Math.imul(hash ^ name.charCodeAt(i), 0x01000193);
  return (hash ^ (hash >>> 15)) & (bucketCount - 1);
}
