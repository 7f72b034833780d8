import type { BulkheadsConfig } from "../config/bulkhead-config.js";
import type { Gauge } from "../telemetry/cells.js";
import { priorities, priorityClasses, type Priority } from "../traffic/priority.js";

export interface PlacesConfig {
  /** Places of all classes together, >= 1. */
  readonly maxRequests: number;
  readonly bulkheads: BulkheadsConfig;
}

/**
 * Who may take a place. A class with places of its own has these and no others; the classes without share what is left.
 * So no class can take a place of another, whatever it is sent.
 */
export class BulkheadPlaces {
  readonly #total: Gauge;
  readonly #active: readonly Gauge[];
  #maxRequests = 1;
  /** By class; 0 = it shares. */
  #own: readonly number[] = [0, 0, 0];
  #shared = 1;

  /** @param total requests of all classes under way. @param active those of each class. Both are counted here. */
  constructor(total: Gauge, active: readonly Gauge[]) {
    this.#total = total;
    this.#active = active;
  }

  configure({ maxRequests, bulkheads }: PlacesConfig): void {
    this.#maxRequests = maxRequests;
    this.#own = priorityClasses.map((name) => bulkheads[name]?.maxRequests ?? 0);
    const owned = this.#own.reduce((sum, places) => sum + places, 0);
    // What is divided among worker processes is rounded up: something must be left.
    this.#shared = Math.max(1, maxRequests - owned);
  }

  /** Places that a class may take. */
  limitOf(priority: Priority): number {
    const own = this.#own[priority] as number;
    return own > 0 ? own : this.#shared;
  }

  /** Places in use of those that a class may take. */
  usedOf(priority: Priority): number {
    if ((this.#own[priority] as number) > 0) return (this.#active[priority] as Gauge).value;
    let used = 0;
    for (const each of priorities) if (this.#own[each] === 0) used += (this.#active[each] as Gauge).value;
    return used;
  }

  hasRoom(priority: Priority): boolean {
    // The whole counts, too: there may be requests from before there were bulkheads.
    return this.#total.value < this.#maxRequests && this.usedOf(priority) < this.limitOf(priority);
  }

  take(priority: Priority): void {
    this.#total.value++;
    (this.#active[priority] as Gauge).value++;
  }

  give(priority: Priority): void {
    this.#total.value--;
    (this.#active[priority] as Gauge).value--;
  }
}
