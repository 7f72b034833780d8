import { timingSafeEqual } from "node:crypto";
import { CertificateError } from "../../certs/certificate-error.js";
import { joinTokenHash, newJoinToken, parseJoinToken, type JoinToken } from "../../certs/join-token.js";
import { isServiceName } from "../../certs/spiffe-id.js";
import { ConfigError } from "../../src/errors/config-error.js";
import type { Clock } from "../../src/time/clock.js";
import { readTokenFile, writeTokenFile, type StoredToken } from "./token-file.js";

/** What a redeemed token makes of its bearer, or why it does not. */
export type Redemption =
  | {
      readonly namespace: string;
      readonly service: string;
      /** Tells the token apart in logs: the first digits of its hash. */
      readonly tokenId: string;
      /** Gives the use back, when nothing came of it. */
      readonly giveBack: () => Promise<void>;
      readonly refused?: never;
    }
  | { readonly refused: RedemptionRefusal };

export type RedemptionRefusal = "malformed" | "other_ca" | "unknown" | "expired" | "used" | "void";

/** One line for the sidecar's operator. */
export const redemptionRefusalTexts: Readonly<Record<RedemptionRefusal, string>> = {
  malformed: "this is not a join token: pass the whole text that `remora token create` printed",
  other_ca: "the join token is for another control plane",
  unknown: "the join token is not known here: create one with `remora token create`",
  expired: "the join token has expired: create one with `remora token create`",
  used: "the join token was used already: create one with `remora token create`",
  void: "the join token was made before certificates of its service were revoked: create one with `remora token create`",
};

export interface NewToken {
  readonly service: string;
  readonly namespace: string;
  /** Milliseconds, 1 s to 24 h; default 10 min, as SPIRE's. */
  readonly ttlMs?: number;
  /** 1 to 1000; default 1. */
  readonly uses?: number;
}

/** The join tokens of one control plane. One process owns the file: others go through its admin API. */
export interface JoinTokens {
  /** The token's text: shown once, never stored or logged. @throws ConfigError */
  createToken(request: NewToken): Promise<{ readonly token: string; readonly expiresAtMs: number }>;
  /**
   * Uses the token once. The use is on disk before the answer, so that neither a race nor a crash gives a second one.
   * @throws Error of node:fs when it cannot be recorded: the caller is then not let in and the use is given back.
   */
  redeem(text: string): Promise<Redemption>;
  /**
   * Makes all tokens of a service void, on disk before it resolves. @returns how many could still have been used.
   */
  voidAll(owner: { readonly service: string; readonly namespace: string }): Promise<number>;
}

const defaultTtlMs = 600_000;
const maxTtlMs = 86_400_000;
const maxUses = 1000;
/** Each redemption looks at all of them (constant time), and all are written at each change. */
const maxTokens = 1000;
/** How long an expired or used token is remembered, so that the answer says why it is refused. */
const graceMs = 3_600_000;

/** @throws ConfigError when `file` is damaged or readable by others. */
export async function openJoinTokens(options: {
  /** `<data-dir>/tokens.json`, 0600. */
  readonly file: string;
  /** Of the root CA, as certs' fingerprint() gives it; a function: those that are believed now, first the one of new tokens. */
  readonly rootFingerprint: string | (() => readonly [string, ...string[]]);
  readonly clock: Clock;
}): Promise<JoinTokens> {
  const tokens = new TokenSet(await readTokenFile(options.file), options.file);
  const { clock, rootFingerprint } = options;
  const roots = typeof rootFingerprint === "function" ? rootFingerprint : () => [rootFingerprint] as const;
  return {
    async createToken({ service, namespace, ttlMs = defaultTtlMs, uses = 1 }) {
      if (!isServiceName(service) || !isServiceName(namespace)) {
        const rule = "names have a-z, 0-9, dash, dot, underscore, start with a letter or digit, at most 63";
        throw new ConfigError(`${JSON.stringify(`${service}.${namespace}`)} cannot be a service: ${rule}`);
      }
      if (!(ttlMs >= 1000 && ttlMs <= maxTtlMs))
        throw new ConfigError(`a join token lives between 1s and 24h, not ${ttlMs}ms`);
      if (!(Number.isInteger(uses) && uses >= 1 && uses <= maxUses))
        throw new ConfigError(`a join token has between 1 and ${maxUses} uses, not ${uses}`);
      const token = newJoinToken(roots()[0]);
      const expiresAtMs = Math.ceil(clock.wallMs() + ttlMs);
      const hash = joinTokenHash(token).toString("hex");
      await tokens.add({ hash, namespace, service, expiresAtMs, usesLeft: uses }, clock.wallMs());
      return { token: token.text, expiresAtMs };
    },
    async redeem(text) {
      const token = readToken(text);
      if (token === undefined) return { refused: "malformed" };
      if (!roots().includes(token.rootFingerprint)) return { refused: "other_ca" };
      return tokens.use(joinTokenHash(token), clock.wallMs());
    },
    voidAll: (owner) => tokens.voidAll(owner, clock.wallMs()),
  };
}

function readToken(text: string): JoinToken | undefined {
  try {
    return parseJoinToken(text);
  } catch (error: unknown) {
    if (error instanceof CertificateError) return undefined;
    throw error;
  }
}

class TokenSet {
  /** By hash. */
  readonly #tokens: Map<string, StoredToken>;
  readonly #file: string;
  /** Writes run one after the other; each writes what is true when its turn comes. */
  #writes: Promise<void> = Promise.resolve();

  constructor(stored: readonly StoredToken[], file: string) {
    this.#tokens = new Map(stored.map((token) => [token.hash, token]));
    this.#file = file;
  }

  async add(token: StoredToken, nowMs: number): Promise<void> {
    this.#prune(nowMs);
    if (this.#tokens.size >= maxTokens)
      throw new ConfigError(`${maxTokens} join tokens are waiting already: let some be used or expire`);
    this.#tokens.set(token.hash, token);
    try {
      await this.#write();
    } catch (error: unknown) {
      this.#tokens.delete(token.hash);
      throw error;
    }
  }

  async use(hash: Buffer, nowMs: number): Promise<Redemption> {
    const found = this.#find(hash);
    if (found === undefined) return { refused: "unknown" };
    if (found.isVoid === true) return { refused: "void" };
    if (found.usesLeft === 0) return { refused: "used" };
    if (nowMs >= found.expiresAtMs) return { refused: "expired" };
    // From the look above to this line nothing else can run: exactly one of two redemptions gets the last use.
    this.#change(found.hash, -1);
    try {
      await this.#write();
    } catch (error: unknown) {
      this.#change(found.hash, +1);
      throw error;
    }
    const { namespace, service, hash: full } = found;
    const giveBack = (): Promise<void> => {
      this.#change(full, +1);
      return this.#write();
    };
    return { namespace, service, tokenId: full.slice(0, 12), giveBack };
  }

  async voidAll(owner: Pick<StoredToken, "service" | "namespace">, nowMs: number): Promise<number> {
    let count = 0;
    for (const token of this.#tokens.values()) {
      if (token.service !== owner.service || token.namespace !== owner.namespace || token.isVoid === true)
        continue;
      if (token.usesLeft > 0 && nowMs < token.expiresAtMs) count += 1;
      this.#tokens.set(token.hash, { ...token, isVoid: true });
    }
    await this.#write();
    return count;
  }

  /** Looks at all tokens whatever it finds: the time taken tells nothing about the hashes. */
  #find(hash: Buffer): StoredToken | undefined {
    let found: StoredToken | undefined;
    for (const token of this.#tokens.values())
      if (timingSafeEqual(Buffer.from(token.hash, "hex"), hash)) found = token;
    return found;
  }

  #change(hash: string, by: number): void {
    const token = this.#tokens.get(hash);
    if (token !== undefined) this.#tokens.set(hash, { ...token, usesLeft: token.usesLeft + by });
  }

  /** Drops what nobody needs an answer about; when that is not enough, all that can no longer be used. */
  #prune(nowMs: number): void {
    const drop = (isGone: (token: StoredToken) => boolean): void => {
      for (const token of this.#tokens.values()) if (isGone(token)) this.#tokens.delete(token.hash);
    };
    drop((token) => nowMs >= token.expiresAtMs + graceMs);
    if (this.#tokens.size >= maxTokens)
      drop((token) => nowMs >= token.expiresAtMs || token.usesLeft === 0 || token.isVoid === true);
  }

  #write(): Promise<void> {
    const written = this.#writes.then(() => writeTokenFile(this.#file, this.#tokens.values()));
    this.#writes = written.catch(() => undefined); // its own caller hears of it; the next write starts afresh
    return written;
  }
}
