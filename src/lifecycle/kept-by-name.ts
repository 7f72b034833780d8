/**
 * What configurations of a name have at run time, over any number of pushes: each push asks for what it still wants, and
 * `settle` forgets the rest.
 */
export class KeptByName<V> {
  #kept = new Map<string, V>();
  /** Since the last `settle`. */
  #asked = new Map<string, V>();

  /** undefined: neither this push nor the one before has asked for it. */
  get(name: string): V | undefined {
    return this.#asked.get(name) ?? this.#kept.get(name);
  }

  ask(name: string, value: V): void {
    this.#asked.set(name, value);
  }

  /** @param forget told what nobody asked for since the last time. */
  settle(forget: (name: string, value: V) => void): void {
    for (const [name, value] of this.#kept) if (!this.#asked.has(name)) forget(name, value);
    this.#kept = this.#asked;
    this.#asked = new Map();
  }
}
