import type { Counter } from "../telemetry/cells.js";
import type { Clock, Timer } from "../time/clock.js";
import type { Claim, Found, IdempotencyStore } from "./idempotency-store.js";

/** Bounds of a memory store. */
export interface MemoryStoreLimits {
  readonly ttlMs: number;
  readonly maxEntries: number;
  readonly maxBytes: number;
  /** Executions under way at once. */
  readonly maxExecutions: number;
}

/** Per entry besides its bytes: the id, the map's slot and the Buffer object, measured roughly. */
const overheadBytes = 300;
/** An idle store gives its memory back this long after its oldest entry could have gone, milliseconds. */
const sweepMs = 60_000;

interface Entry {
  readonly reply: Buffer;
  readonly expiresAtMs: number;
}

/** Executions and their outcomes in the memory of this process. Of the outcomes the one used longest ago goes first. */
export class MemoryStore implements IdempotencyStore {
  readonly #clock: Clock;
  #limits: MemoryStoreLimits;
  /** Key: entry id. Value: the operation. Never evicted: what is under way must not begin again. */
  readonly #running = new Map<string, string>();
  /** Key: entry id, in the order of their last use. */
  readonly #done = new Map<string, Entry>();
  #bytes = 0;
  /** Outcomes dropped before their time, so that others had room. */
  readonly #evictions: Counter;
  #sweep: Timer | undefined;

  constructor(limits: MemoryStoreLimits, evictions: Counter, clock: Clock) {
    this.#limits = limits;
    this.#evictions = evictions;
    this.#clock = clock;
  }

  /** Outcomes that are kept. */
  get entries(): number {
    return this.#done.size;
  }

  /** What they take. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Executions under way. */
  get executions(): number {
    return this.#running.size;
  }

  /** Other bounds; what is kept stays as far as they allow. */
  configure(limits: MemoryStoreLimits): void {
    this.#limits = limits;
    this.#makeRoom();
  }

  claim(id: string, operation: string, answer: (found: Found) => void): void {
    answer(this.#find(id, operation));
  }

  /** Forgets everything, also what executions under way still bring. */
  close(): void {
    this.#sweep?.cancel();
    this.#limits = { ...this.#limits, maxEntries: 0 };
    this.#done.clear();
    this.#bytes = 0;
  }

  /** What is known of a key, without a claim to it. */
  peek(id: string): Found | undefined {
    const entry = this.#done.get(id);
    if (entry !== undefined) {
      this.#drop(id, entry);
      if (entry.expiresAtMs > this.#clock.monotonicMs()) {
        this.#add(id, entry);
        return { state: "done", reply: entry.reply };
      }
    }
    const running = this.#running.get(id);
    return running === undefined ? undefined : { state: "running", operation: running };
  }

  #find(id: string, operation: string): Found {
    const known = this.peek(id);
    if (known !== undefined) return known;
    const { maxExecutions } = this.#limits;
    if (this.#running.size >= maxExecutions) return { state: "full", limit: maxExecutions };
    this.#running.set(id, operation);
    return { state: "claimed", claim: this.#claimOf(id) };
  }

  #claimOf(id: string): Claim {
    let isSettled = false;
    const settle = (): boolean => {
      const isFirst = !isSettled;
      isSettled = true;
      if (isFirst) this.#running.delete(id);
      return isFirst;
    };
    return {
      keep: (reply) => {
        if (!settle()) return;
        this.#add(id, { reply, expiresAtMs: this.#clock.monotonicMs() + this.#limits.ttlMs });
        this.#makeRoom();
        this.#sweepLater();
      },
      free: () => void settle(),
    };
  }

  #add(id: string, entry: Entry): void {
    this.#done.set(id, entry);
    this.#bytes += entry.reply.length + overheadBytes;
  }

  #drop(id: string, entry: Entry): void {
    this.#done.delete(id);
    this.#bytes -= entry.reply.length + overheadBytes;
  }

  /** The oldest go: those whose time is over, then as many as there are too many. */
  #makeRoom(): void {
    const { maxEntries, maxBytes } = this.#limits;
    const nowMs = this.#clock.monotonicMs();
    for (const [id, entry] of this.#done) {
      const isOver = entry.expiresAtMs <= nowMs;
      if (!isOver && this.#done.size <= maxEntries && this.#bytes <= maxBytes) return;
      this.#drop(id, entry);
      if (!isOver) this.#evictions.value++;
    }
  }

  /** Without requests nobody else would look. */
  #sweepLater(): void {
    if (this.#sweep !== undefined || this.#done.size === 0) return;
    this.#sweep = this.#clock.timer(Math.max(sweepMs, this.#limits.ttlMs), () => {
      this.#sweep = undefined;
      const nowMs = this.#clock.monotonicMs();
      for (const [id, entry] of this.#done) if (entry.expiresAtMs <= nowMs) this.#drop(id, entry);
      this.#sweepLater();
    });
  }
}
