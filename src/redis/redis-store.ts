import { createHash } from "node:crypto";
import { messageOf } from "../errors/message-of.js";
import { fullJitterMs } from "../time/backoff.js";
import type { Clock, Timer } from "../time/clock.js";
import type { TimerWheel } from "../time/timer-wheel.js";
import {
  connectRedis,
  type ConnectOptions,
  type RedisConnection,
  RedisReplyError,
} from "./redis-connection.js";

/** What sidecars share: a place where a script changes several keys at once. */
export interface SharedStore {
  /** False: `eval` rejects at once. */
  readonly isUp: boolean;
  /** Begins to connect, if nobody has: for whoever finds in its configuration that it will need the store. */
  start(): void;
  /**
   * Runs a Lua script, atomically. Rejects with StoreUnavailable, within a bounded time, when the store did not answer: the
   * script may have run then. Numbers of the reply are integers.
   * @param timeoutMs longest wait; the store's own when it is absent.
   */
  eval(
    script: string,
    keys: readonly string[],
    args: readonly (string | number)[],
    timeoutMs?: number,
  ): Promise<unknown>;
}

/** The store did not do what it was asked, or did not say so in time. */
export class StoreUnavailable extends Error {
  override readonly name = "StoreUnavailable";
}

/** Why the store did not answer: no connection, no answer in time, an error reply. */
export type StoreFailure = "down" | "timeout" | "reply";

export interface RedisStoreOptions {
  readonly url: string;
  readonly clock: Clock;
  readonly wheel: TimerWheel;
  /** Longest wait for the answer to a script, milliseconds. */
  readonly timeoutMs?: number;
  readonly onState: (isUp: boolean, reason: string) => void;
  readonly onFailure: (failure: StoreFailure) => void;
  /** For tests. */
  readonly connect?: (options: ConnectOptions) => Promise<RedisConnection>;
}

/** On a LAN Redis answers within a millisecond; a request waits for no longer than a slow one takes. */
const defaultTimeoutMs = 50;
/** A single slow answer is a pause of the server; this many in a row are a server that hangs. */
const maxTimeouts = 3;
const connectTimeoutMs = 1000;
/**
 * What a server says of a write when another one has become the primary: a new connection by the same name may lead there. Before
 * Redis 7 the words stand in the middle of a script's error.
 */
const notPrimary = /\bREADONLY\b|\bMASTERDOWN\b/;
const reconnect = { baseMs: 200, maxMs: 5000 };

/**
 * A Redis server as shared store. While it is away calls are refused at once; it is back when a new connection has
 * answered, so that no request pays for finding out.
 */
export class RedisStore implements SharedStore {
  readonly #options: RedisStoreOptions;
  readonly #timeoutMs: number;
  #connection: RedisConnection | undefined;
  #isStarted = false;
  #isClosed = false;
  /** Scripts that were not answered in time, in a row. */
  #timeouts = 0;
  /** Connections that failed or were lost, since a script was last carried out. */
  #failures = 0;
  #retry: Timer | undefined;
  /** Key: the script; value: its SHA-1, as Redis names it. */
  readonly #digests = new Map<string, string>();

  constructor(options: RedisStoreOptions) {
    this.#options = options;
    this.#timeoutMs = options.timeoutMs ?? defaultTimeoutMs;
  }

  get isUp(): boolean {
    return this.#connection !== undefined;
  }

  start(): void {
    if (this.#isStarted || this.#isClosed) return;
    this.#isStarted = true;
    void this.#connect();
  }

  eval(
    script: string,
    keys: readonly string[],
    args: readonly (string | number)[],
    timeoutMs = this.#timeoutMs,
  ): Promise<unknown> {
    const connection = this.#connection;
    if (connection === undefined) return Promise.reject(this.#failed("down", "Redis is not connected"));
    const rest = [`${keys.length}`, ...keys, ...args.map(String)];
    const digest = this.#digestOf(script);
    const answer = connection.send(["EVALSHA", digest, ...rest]).catch((error: unknown) => {
      if (!(error instanceof RedisReplyError && error.message.startsWith("NOSCRIPT"))) throw error;
      return connection.send(["EVAL", script, ...rest]);
    });
    return new Promise((resolve, reject) => {
      const timer = this.#options.wheel.add(timeoutMs, {
        onTimer: () => reject(this.#timedOut(connection, timeoutMs)),
      });
      answer.then(
        (value) => {
          timer.cancel();
          this.#timeouts = 0;
          this.#failures = 0;
          resolve(value);
        },
        (error: unknown) => {
          timer.cancel();
          const isReply = error instanceof RedisReplyError;
          if (isReply) this.#timeouts = 0;
          if (isReply && notPrimary.test(error.message)) this.#lost(connection, messageOf(error));
          reject(this.#failed(isReply ? "reply" : "down", messageOf(error), error));
        },
      );
    });
  }

  close(): void {
    this.#isClosed = true;
    this.#retry?.cancel();
    this.#connection?.destroy();
    this.#connection = undefined;
  }

  async #connect(): Promise<void> {
    const { url, clock, connect = connectRedis, onState } = this.#options;
    try {
      const connection: RedisConnection = await connect({
        url,
        timeoutMs: connectTimeoutMs,
        clock,
        onLost: (error) => this.#lost(connection, messageOf(error)),
      });
      if (this.#isClosed) return connection.destroy();
      this.#connection = connection;
      this.#timeouts = 0;
      onState(true, "");
    } catch (error) {
      if (this.#isClosed) return;
      if (this.#failures === 0) onState(false, messageOf(error));
      this.#again();
    }
  }

  #timedOut(connection: RedisConnection, timeoutMs: number): StoreUnavailable {
    if (++this.#timeouts >= maxTimeouts) {
      this.#lost(connection, `${maxTimeouts} scripts in a row had no answer within ${timeoutMs} ms`);
    }
    return this.#failed("timeout", `Redis did not answer within ${timeoutMs} ms`);
  }

  #lost(connection: RedisConnection, reason: string): void {
    if (this.#connection !== connection || this.#isClosed) return;
    this.#connection = undefined;
    connection.destroy();
    this.#options.onState(false, reason);
    this.#again();
  }

  #again(): void {
    const { clock } = this.#options;
    const delayMs = reconnect.baseMs / 2 + fullJitterMs(reconnect, this.#failures++, () => clock.random());
    this.#retry = clock.timer(delayMs, () => void this.#connect());
  }

  #failed(failure: StoreFailure, text: string, cause?: unknown): StoreUnavailable {
    this.#options.onFailure(failure);
    return new StoreUnavailable(text, { cause });
  }

  #digestOf(script: string): string {
    let digest = this.#digests.get(script);
    if (digest === undefined) {
      digest = createHash("sha1").update(script).digest("hex");
      this.#digests.set(script, digest);
    }
    return digest;
  }
}
