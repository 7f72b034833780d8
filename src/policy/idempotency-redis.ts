import { randomUUID } from "node:crypto";
import type { SharedStore } from "../redis/redis-store.js";
import type { Counter } from "../telemetry/cells.js";
import type { TimerTarget, TimerWheel, WheelTimer } from "../time/timer-wheel.js";
import type { MemoryStore } from "./idempotency-memory.js";
import type { Claim, Found, IdempotencyStore } from "./idempotency-store.js";

export interface RedisIdempotencyOptions {
  /** undefined: this sidecar has no Redis. */
  readonly shared: SharedStore | undefined;
  /** Begins the names in Redis: several meshes may use one. */
  readonly prefix: string;
  /** What takes the place of Redis while it is away. */
  readonly local: MemoryStore;
  readonly onUnavailable: "local" | "closed";
  readonly ttlMs: number;
  /** Executions under way at once. */
  readonly maxExecutions: number;
  /** Times that Redis could not be asked or told. */
  readonly unavailable: Counter;
  readonly wheel: TimerWheel;
}

/**
 * How long an execution counts as under way after the last word of its sidecar, milliseconds. A sidecar that dies leaves its
 * keys for so long.
 */
export const leaseMs = 30_000;
/**
 * Longest wait for Redis: what is decided without it may be executed twice, so a burst that keeps the event loop busy for a
 * moment must not count as an outage.
 */
const answerMs = 1000;
/** Two renewals may be lost. */
const renewMs = 10_000;
/** An outcome that Redis was not told is told again for as long as the lease lasts. */
const tellAgainMs = 1000;

/*
 * A value in Redis is `r <token> <operation>` while the execution is under way, and `d <base64 of the reply>` afterwards.
 * Whoever changes it compares the token: a lease may have run out and be somebody else's by now.
 */

/** ARGV: own value, lease. Reply: "" when the claim is ours, else what is held. */
const claimScript = `
local held = redis.call('GET', KEYS[1])
if held then return held end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return ''
`;

/** ARGV: own value, outcome, lifetime. An execution whose lease ran out, and that nobody has begun anew, counts. */
const keepScript = `
local held = redis.call('GET', KEYS[1])
if held and held ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
`;

/** ARGV: own value. */
const freeScript = `
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
`;

/** ARGV: own value, lease. */
const renewScript = `
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return 0
`;

/** Executions and their outcomes in Redis, for all instances of a service. */
export class RedisIdempotencyStore implements IdempotencyStore {
  readonly options: RedisIdempotencyOptions;
  /** Own executions under way. */
  executions = 0;

  constructor(options: RedisIdempotencyOptions) {
    this.options = options;
  }

  claim(id: string, operation: string, answer: (found: Found) => void): void {
    const { local, maxExecutions } = this.options;
    // What was begun or kept here while Redis was away.
    const known = local.peek(id);
    if (known !== undefined) return answer(known);
    if (this.executions >= maxExecutions) return answer({ state: "full", limit: maxExecutions });
    const claim = new SharedClaim(this, id, operation);
    claim.eval(claimScript, leaseMs).then(
      (held) => answer(this.#read(held, claim)),
      () => this.#withoutRedis(id, operation, claim, answer),
    );
  }

  #read(held: unknown, claim: SharedClaim): Found {
    if (held === "") return { state: "claimed", claim: claim.begin(undefined) };
    const [kind, ...rest] = String(held).split(" ");
    if (kind === "r") return { state: "running", operation: rest[1] ?? "" };
    // What is no reply in a form that is known is told apart when it is decoded.
    return { state: "done", reply: Buffer.from(rest[0] ?? "", "base64") };
  }

  #withoutRedis(id: string, operation: string, claim: SharedClaim, answer: (found: Found) => void): void {
    const { local, onUnavailable } = this.options;
    if (onUnavailable === "closed") {
      claim.withdraw();
      return answer({ state: "unavailable", reason: "Redis does not answer" });
    }
    local.claim(id, operation, (found) => {
      if (found.state === "claimed") return answer({ state: "claimed", claim: claim.begin(found.claim) });
      claim.withdraw();
      answer(found);
    });
  }
}

/** An execution of this instance, until its outcome is told. */
class SharedClaim implements Claim, TimerTarget {
  readonly #store: RedisIdempotencyStore;
  readonly #id: string;
  readonly #name: string;
  /** What Redis holds while it is ours. */
  readonly #value: string;
  /** The claim in memory of what was begun without Redis. */
  #local: Claim | undefined;
  #isSettled = false;
  #timer: WheelTimer | undefined;

  constructor(store: RedisIdempotencyStore, id: string, operation: string) {
    this.#store = store;
    this.#id = id;
    this.#name = `${store.options.prefix}/${id}`;
    this.#value = `r ${randomUUID()} ${operation}`;
  }

  begin(local: Claim | undefined): this {
    this.#local = local;
    this.#store.executions++;
    this.#timer = this.#store.options.wheel.add(renewMs, this);
    return this;
  }

  /** The lease is renewed. Also where Redis did not answer: it may have heard. */
  onTimer(): void {
    this.eval(renewScript, leaseMs).catch(() => undefined);
    this.#timer?.restart(renewMs);
  }

  keep(reply: Buffer): void {
    if (!this.#settle()) return;
    this.#local?.keep(reply);
    this.#tell(reply, Math.floor(leaseMs / tellAgainMs));
  }

  free(): void {
    if (!this.#settle()) return;
    this.#local?.free();
    this.eval(freeScript).catch(() => undefined);
  }

  /** Nothing is executed. Redis may have heard the claim all the same, if only its answer came too late. */
  withdraw(): void {
    if (this.#store.options.shared?.isUp === true) this.eval(freeScript).catch(() => undefined);
  }

  /** Rejects when Redis has not answered, and counts it. */
  eval(script: string, ...args: readonly (string | number)[]): Promise<unknown> {
    const { shared, unavailable } = this.#store.options;
    const answer = shared?.eval(script, [this.#name], [this.#value, ...args], answerMs);
    return (answer ?? Promise.reject(new Error("no Redis"))).catch((error: unknown) => {
      unavailable.value++;
      throw error;
    });
  }

  #tell(reply: Buffer, triesLeft: number): void {
    const { ttlMs, local, wheel } = this.#store.options;
    const again = (): void => {
      // Those who repeat it here find it at least.
      if (this.#local === undefined) local.claim(this.#id, "", (found) => keepIfClaimed(found, reply));
      if (triesLeft > 0) wheel.add(tellAgainMs, { onTimer: () => this.#tell(reply, triesLeft - 1) });
    };
    this.eval(keepScript, `d ${reply.toString("base64")}`, ttlMs).catch(again);
  }

  /** False: it was settled before. */
  #settle(): boolean {
    if (this.#isSettled) return false;
    this.#isSettled = true;
    this.#timer?.cancel();
    this.#store.executions--;
    return true;
  }
}

function keepIfClaimed(found: Found, reply: Buffer): void {
  if (found.state === "claimed") found.claim.keep(reply);
}
