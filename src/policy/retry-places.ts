/**
 * Bounds the retries of a cluster that are under way at once (Envoy: max_retries of its circuit breakers): each has a place
 * from the decision to make it, its pause included, until its outcome is known. A response that is long is no load of retries.
 */
export class RetryPlaces {
  /** Replaced when the cluster's configuration changes; who is under way stays so. */
  limit: number;
  #taken = 0;

  constructor(limit: number) {
    this.limit = limit;
  }

  get hasRoom(): boolean {
    return this.#taken < this.limit;
  }

  take(): void {
    this.#taken++;
  }

  give(): void {
    this.#taken--;
  }
}
