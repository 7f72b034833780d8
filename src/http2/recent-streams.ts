/** The ids of streams that something happened to lately: the last ones, as many as told. */
export class RecentStreams {
  readonly #most: number;
  readonly #ids = new Set<number>();

  constructor(most: number) {
    this.#most = most;
  }

  add(streamId: number): void {
    this.#ids.add(streamId);
    if (this.#ids.size <= this.#most) return;
    for (const oldest of this.#ids) {
      this.#ids.delete(oldest);
      return;
    }
  }

  has(streamId: number): boolean {
    return this.#ids.has(streamId);
  }
}
