/** The endpoint's gate beside its breaker: shut while any of its active health checks calls it unhealthy. */
export class HealthGate {
  #isHealthy = true;
  #reason = "";

  /** Read for each candidate of each pick. */
  get isHealthy(): boolean {
    return this.#isHealthy;
  }

  /** Of the last failure; "" while healthy. */
  get reason(): string {
    return this.#reason;
  }

  /** Written by the endpoint's checker alone. True when it was otherwise before. */
  set(isHealthy: boolean, reason: string): boolean {
    const isNews = isHealthy !== this.#isHealthy;
    this.#isHealthy = isHealthy;
    this.#reason = isHealthy ? "" : reason;
    return isNews;
  }
}
