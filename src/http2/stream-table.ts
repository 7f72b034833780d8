/** What is found by its stream id. */
interface Identified {
  readonly id: number;
}

/** Slots at first; a power of two, as after each doubling. */
const firstSlots = 32;

/**
 * The streams of a connection by id. A `Map` would do, but its tables stay linked when it rehashes, which it does all the
 * time where entries come and go: once one table is old, V8's minor collections keep alive every later one, and with them
 * all requests (measured: a tenfold heap and 30 % more CPU from the first full collection on).
 * Open addressing with linear probing; an entry that leaves is filled from behind (Knuth, TAOCP vol. 3, §6.4, algorithm R).
 */
export class StreamTable<S extends Identified> {
  #slots: (S | undefined)[] = emptySlots<S>(firstSlots);
  #size = 0;

  get size(): number {
    return this.#size;
  }

  get(id: number): S | undefined {
    return this.#slots[this.#slotOf(id)];
  }

  has(id: number): boolean {
    return this.get(id) !== undefined;
  }

  /** Takes the place of another with the same id. */
  add(stream: S): void {
    const slot = this.#slotOf(stream.id);
    if (this.#slots[slot] === undefined) {
      this.#size++;
      // At most half full: probing ends after a step or two.
      if (this.#size * 2 > this.#slots.length) this.#grow();
    }
    this.#slots[this.#slotOf(stream.id)] = stream;
  }

  delete(id: number): void {
    let hole = this.#slotOf(id);
    const slots = this.#slots;
    if (slots[hole] === undefined) return;
    this.#size--;
    const mask = slots.length - 1;
    for (let slot = (hole + 1) & mask; ; slot = (slot + 1) & mask) {
      const stream = slots[slot];
      if (stream === undefined) break;
      // Whoever was pushed past the hole moves into it; whoever stands at home, or behind his home, stays.
      const distance = (slot - homeOf(stream.id)) & mask;
      if (distance < ((slot - hole) & mask)) continue;
      slots[hole] = stream;
      hole = slot;
    }
    slots[hole] = undefined;
  }

  /** As of now, in no order: the table may change while they are gone through. */
  values(): readonly S[] {
    return this.#slots.filter((stream) => stream !== undefined);
  }

  /** Where the id stands, or where it would. */
  #slotOf(id: number): number {
    const slots = this.#slots;
    const mask = slots.length - 1;
    let slot = homeOf(id) & mask;
    for (let stream = slots[slot]; stream !== undefined && stream.id !== id; stream = slots[slot])
      slot = (slot + 1) & mask;
    return slot;
  }

  #grow(): void {
    const streams = this.values();
    this.#slots = emptySlots(this.#slots.length * 2);
    for (const stream of streams) this.#slots[this.#slotOf(stream.id)] = stream;
  }
}

/** Ids of one side are every other number (RFC 9113 §5.1.1). */
function homeOf(id: number): number {
  return id >> 1;
}

function emptySlots<S>(count: number): (S | undefined)[] {
  return new Array<S | undefined>(count).fill(undefined);
}
