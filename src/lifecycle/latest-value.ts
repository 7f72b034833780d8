/**
 * The newest state of something, readable now and announced on change: level-triggered, so a slow watcher gets the
 * newest value and never a queue.
 */
export class LatestValue<T> {
  #value: T;
  readonly #watchers = new Set<(value: T) => void>();

  constructor(initial: T) {
    this.#value = initial;
  }

  get(): T {
    return this.#value;
  }

  /** Watchers run synchronously, in the order they came. */
  set(value: T): void {
    this.#value = value;
    for (const watcher of [...this.#watchers]) {
      if (this.#watchers.has(watcher)) watcher(value);
    }
  }

  /** Does not call back for the present value. Returns the function that ends the watch. */
  watch(watcher: (value: T) => void): () => void {
    // A fresh closure each time: the same function may watch twice.
    const entry = (value: T): void => watcher(value);
    this.#watchers.add(entry);
    return () => this.#watchers.delete(entry);
  }

  /** Resolves with the first value (the present one included) that satisfies `accept`; rejects when `signal` aborts. */
  until(accept: (value: T) => boolean, signal?: AbortSignal): Promise<T> {
    return new Promise((resolve, reject) => {
      const abort = (): void => {
        stop();
        reject(signal?.reason instanceof Error ? signal.reason : new Error("aborted"));
      };
      const check = (value: T): void => {
        if (!accept(value)) return;
        stop();
        signal?.removeEventListener("abort", abort);
        resolve(value);
      };
      const stop = this.watch(check);
      if (signal?.aborted === true) return abort();
      signal?.addEventListener("abort", abort, { once: true });
      check(this.#value);
    });
  }
}
