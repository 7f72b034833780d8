import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import { isServiceName } from "../../certs/spiffe-id.js";
import { ConfigError } from "../../src/errors/config-error.js";
import type { Clock } from "../../src/time/clock.js";
import { readStateFile, writeStateFile, type StateFields } from "../state-file.js";
import type { AdminToken } from "./admin-token.js";
import { isRole, type AdminCaller, type Role } from "./roles.js";

/** A token of the admin API at rest: only its hash, so that a copy of the file opens nothing. */
interface StoredAdminToken {
  readonly name: string;
  readonly role: Role;
  /** SHA-256, hexadecimal. */
  readonly hash: string;
  readonly createdAtMs: number;
  readonly expiresAtMs: number;
}

/** What is shown of a token. */
export type AdminTokenView = Omit<StoredAdminToken, "hash">;

/** Who may use the admin API: the bearer of admin.token, who is `admin`, and those with a token of their own. */
export interface AdminTokens {
  /** Takes the same time whichever token it is, or none. */
  identify(text: string): AdminCaller | undefined;
  /** The token's text: shown once. @throws ConfigError */
  create(wish: {
    readonly name: string;
    readonly role: Role;
    /** Milliseconds, 1 minute to 366 days. */
    readonly ttlMs: number;
  }): Promise<{ readonly token: string; readonly view: AdminTokenView }>;
  list(): readonly AdminTokenView[];
  /** @returns false when there is none of that name. */
  revoke(name: string): Promise<boolean>;
}

/** Name of the bearer of admin.token in the audit log; no other token can have it. */
const ownerName = "admin.token";
const maxTokens = 200;
const minTtlMs = 60_000;
const maxTtlMs = 366 * 86_400_000;
/** An expired token is listed for so long, so that its user finds out why it is refused. */
const graceMs = 30 * 86_400_000;

/** @throws ConfigError when `file` is damaged or readable by others. */
export async function openAdminTokens(options: {
  /** `<data-dir>/admin-tokens.json`, 0600. */
  readonly file: string;
  readonly owner: AdminToken;
  readonly clock: Clock;
}): Promise<AdminTokens> {
  const { file, owner, clock } = options;
  let tokens: readonly StoredAdminToken[] = await readTokens(file);
  let writes: Promise<unknown> = Promise.resolve();
  /** One change after the other; what is on the disk is in force, and nothing else. */
  const change = <T>(decide: () => { readonly next: readonly StoredAdminToken[]; readonly result: T }) => {
    const done = writes.then(async () => {
      const { next, result } = decide();
      await writeTokens(file, next);
      tokens = next;
      return result;
    });
    writes = done.catch(() => undefined);
    return done;
  };
  return {
    identify(text) {
      const hash = digest(text);
      let found: AdminCaller | undefined = owner.isToken(text)
        ? { name: ownerName, role: "admin" }
        : undefined;
      const nowMs = clock.wallMs();
      for (const token of tokens)
        if (timingSafeEqual(Buffer.from(token.hash, "hex"), hash) && nowMs < token.expiresAtMs)
          found = { name: token.name, role: token.role };
      return found;
    },
    create({ name, role, ttlMs }) {
      if (!isServiceName(name) || name === ownerName)
        throw new ConfigError(
          `${JSON.stringify(name.slice(0, 100))} cannot be the name of a token: use a-z, 0-9, dash, dot, underscore`,
        );
      if (!(ttlMs >= minTtlMs && ttlMs <= maxTtlMs))
        throw new ConfigError("an admin token lives between 1m and 366d");
      return change(() => {
        const nowMs = clock.wallMs();
        const kept = tokens.filter(({ expiresAtMs }) => nowMs < expiresAtMs + graceMs);
        if (kept.some((token) => token.name === name && nowMs < token.expiresAtMs))
          throw new ConfigError(`there is an admin token ${name}: revoke it first, or choose another name`);
        if (kept.length >= maxTokens)
          throw new ConfigError(`there are ${maxTokens} admin tokens: revoke some first`);
        const token = `rma1.${randomBytes(32).toString("base64url")}`;
        const view = { name, role, createdAtMs: nowMs, expiresAtMs: Math.ceil(nowMs + ttlMs) };
        const next = [
          ...kept.filter((one) => one.name !== name),
          { ...view, hash: digest(token).toString("hex") },
        ];
        return { next, result: { token, view } };
      });
    },
    list: () =>
      tokens.map(({ name, role, createdAtMs, expiresAtMs }) => ({ name, role, createdAtMs, expiresAtMs })),
    revoke: (name) =>
      change(() => ({
        next: tokens.filter((token) => token.name !== name),
        result: tokens.some((token) => token.name === name),
      })),
  };
}

/** One round is enough for 256 random bits; equal length for any text, as timingSafeEqual needs it. */
function digest(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}

async function readTokens(file: string): Promise<readonly StoredAdminToken[]> {
  const fix = "remove it and create the admin tokens anew";
  return (await readStateFile(file, { parse: parseTokens, fix })) ?? [];
}

async function writeTokens(file: string, tokens: readonly StoredAdminToken[]): Promise<void> {
  try {
    await writeStateFile(file, { tokens });
  } catch (error: unknown) {
    const code = (error as NodeJS.ErrnoException).code ?? String(error);
    throw new ConfigError(`${file} cannot be written (${code}): nothing was changed`, { cause: error });
  }
}

function parseTokens({ tokens }: StateFields): readonly StoredAdminToken[] | undefined {
  return Array.isArray(tokens) && tokens.every(isToken) ? tokens : undefined;
}

function isToken(value: unknown): value is StoredAdminToken {
  const { name, role, hash, createdAtMs, expiresAtMs }: Partial<StoredAdminToken> = value ?? {};
  return (
    typeof name === "string" &&
    isRole(role) &&
    typeof hash === "string" &&
    /^[0-9a-f]{64}$/.test(hash) &&
    Number.isSafeInteger(createdAtMs) &&
    Number.isSafeInteger(expiresAtMs)
  );
}
