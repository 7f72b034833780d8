import { createHash } from "node:crypto";
import type { SharedStore } from "../redis/redis-store.js";
import type { Limiter } from "./limiter.js";

/**
 * Token buckets of several limits at once: takes a token of each when all have one. Goes by the clock of Redis, so that
 * those of sidecars need not agree. A bucket is kept for as long as it is not full.
 *
 * KEYS: the buckets. ARGV, for each: requests, period in milliseconds, burst. Reply: 1 or 0 (admitted), then for each
 * whole tokens left and milliseconds until the next one.
 */
export const takeScript = `
local time = redis.call('TIME')
local now = time[1] * 1000 + time[2] / 1000
local rate, burst, tokens = {}, {}, {}
local admitted = 1
for i = 1, #KEYS do
  rate[i] = ARGV[3 * i - 2] / ARGV[3 * i - 1]
  burst[i] = tonumber(ARGV[3 * i])
  tokens[i] = burst[i]
  local held = redis.call('GET', KEYS[i])
  if held then
    local before, at = string.match(held, '^(%S+) (%S+)$')
    tokens[i] = math.min(burst[i], before + math.max(0, now - at) * rate[i])
  end
  if tokens[i] < 1 - 1e-9 then admitted = 0 end
end
local reply = {admitted}
for i = 1, #KEYS do
  if admitted == 1 then
    tokens[i] = math.max(0, tokens[i] - 1)
    local filled = math.max(1, math.ceil((burst[i] - tokens[i]) / rate[i]))
    redis.call('SET', KEYS[i], string.format('%.17g %.17g', tokens[i], now), 'PX', string.format('%.0f', filled))
  end
  reply[2 * i] = math.floor(tokens[i] + 1e-9)
  reply[2 * i + 1] = tokens[i] < 1 - 1e-9 and math.ceil((1 - tokens[i]) / rate[i]) or 0
end
return reply
`;

/** What Redis says of a request. The lists are in the order of the limits. */
export interface SharedAnswer {
  readonly isAdmitted: boolean;
  /** Whole tokens left. */
  readonly tokens: readonly number[];
  /** Milliseconds until there is a token; 0 when there is one. */
  readonly waitsMs: readonly number[];
}

/** The buckets that all instances of all services share. */
export class SharedCounts {
  readonly #store: SharedStore;
  readonly #prefix: string;

  /** @param mesh the trust domain: several meshes may use one Redis. */
  constructor(store: SharedStore, mesh: string) {
    this.#store = store;
    this.#prefix = `remora/${mesh}/limit`;
  }

  get isUp(): boolean {
    return this.#store.isUp;
  }

  start(): void {
    this.#store.start();
  }

  /** Takes a token of each limit when all have one. Rejects, within a bounded time, when Redis does not answer. */
  async take(limiters: readonly Limiter[], keys: readonly string[]): Promise<SharedAnswer> {
    const names = limiters.map(({ config }, i) => `${this.#prefix}/${config.name}/${digest(keys[i] ?? "")}`);
    const sizes = limiters.flatMap(({ config: { requests, perMs, burst } }) => [requests, perMs, burst]);
    const reply = await this.#store.eval(takeScript, names, sizes);
    const length = 1 + 2 * limiters.length;
    if (!Array.isArray(reply) || reply.length !== length || !reply.every(Number.isFinite)) {
      throw new Error("Redis answered in a form that is not known");
    }
    const [admitted, ...numbers] = reply as number[];
    return {
      isAdmitted: admitted === 1,
      tokens: numbers.filter((_, i) => i % 2 === 0),
      waitsMs: numbers.filter((_, i) => i % 2 === 1),
    };
  }
}

/** API keys are no business of whoever reads Redis. */
function digest(key: string): string {
  return createHash("sha256").update(key).digest("base64url").slice(0, 22);
}
