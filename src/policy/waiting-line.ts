/** A place in a WaitingLine; linked to itself while it is in none. */
export class Waiter {
  next: Waiter = this;
  previous: Waiter = this;

  get isWaiting(): boolean {
    return this.next !== this;
  }
}

/** First in, first out; whoever loses patience leaves from any place, at once. */
export class WaitingLine<W extends Waiter> {
  /** Stands between the last and the first. */
  readonly #ends = new Waiter();
  #length = 0;

  get length(): number {
    return this.#length;
  }

  /** Who has waited longest; undefined when nobody waits. */
  get first(): W | undefined {
    const { next } = this.#ends;
    return next === this.#ends ? undefined : (next as W);
  }

  /** `waiter` must not stand in a line. */
  join(waiter: W): void {
    const last = this.#ends.previous;
    last.next = waiter;
    waiter.previous = last;
    waiter.next = this.#ends;
    this.#ends.previous = waiter;
    this.#length++;
  }

  /** `waiter` must stand in this line. */
  leave(waiter: W): void {
    waiter.previous.next = waiter.next;
    waiter.next.previous = waiter.previous;
    waiter.next = waiter;
    waiter.previous = waiter;
    this.#length--;
  }
}
