import type { ServiceCommand } from "./policy/breaker-command.js";
import type { Clock } from "./time/clock.js";

/**
 * What operators have told the breakers and still holds: a worker that takes the place of another one is told it anew.
 * Bounded by the endpoints there are: a command replaces the one before it about the same.
 */
export class BreakerOverrides {
  readonly #clock: Clock;
  #held: readonly { readonly command: ServiceCommand; readonly untilMs: number }[] = [];

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** A command that was carried out. */
  add(command: ServiceCommand): void {
    const { action, service, endpoint, forMs } = command;
    const nowMs = this.#clock.monotonicMs();
    // close and reset of a service end what was said about its endpoints.
    const isWide = endpoint === undefined && (action === "close" || action === "reset");
    this.#held = this.#held.filter(({ command: other, untilMs }) => {
      const isSame = service === undefined || other.service === service;
      return untilMs > nowMs && !(isSame && (isWide || other.endpoint === endpoint));
    });
    if (action !== "reset") this.#held = [...this.#held, { command, untilMs: nowMs + forMs }];
  }

  /** Each with the time that it has left. */
  present(): readonly ServiceCommand[] {
    const nowMs = this.#clock.monotonicMs();
    return this.#held
      .filter(({ untilMs }) => untilMs > nowMs)
      .map(({ command, untilMs }) => ({ ...command, forMs: untilMs - nowMs }));
  }
}
