/** Who waits for a slot. */
export interface SlotUser {
  /** It has a slot now and must release it once. May run inside of `take`. */
  onSlot(): void;
}

/** As many checks at once as a process makes: of thousands of endpoints, the others wait their turn. */
const defaultSlots = 64;

/** Bounds what runs at once, first come, first served. */
export class CheckSlots {
  readonly #waiting = new Set<SlotUser>();
  #free: number;

  constructor(slots = defaultSlots) {
    this.#free = slots;
  }

  take(user: SlotUser): void {
    if (this.#free === 0) {
      this.#waiting.add(user);
      return;
    }
    this.#free--;
    user.onSlot();
  }

  release(): void {
    const [next] = this.#waiting;
    if (next === undefined) {
      this.#free++;
      return;
    }
    this.#waiting.delete(next);
    next.onSlot();
  }

  /** Does not want one any more; false: it has one, or never asked. */
  leave(user: SlotUser): boolean {
    return this.#waiting.delete(user);
  }
}
