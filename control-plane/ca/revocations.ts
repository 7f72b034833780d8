import { writeFileAtomic } from "../../certs/secret-file.js";
import { ConfigError } from "../../src/errors/config-error.js";
import { readSecretText } from "../../src/identity/secret-text.js";
import { LatestValue } from "../../src/lifecycle/latest-value.js";
import type { Clock } from "../../src/time/clock.js";
import type { Caller } from "./issuer.js";

/** A leaf that nobody may use any more. */
export interface RevokedLeaf {
  /** Hexadecimal, upper case. */
  readonly serial: string;
  /** SPIFFE id. */
  readonly id: string;
  /** Unix milliseconds: when it expires, and need not be remembered. */
  readonly notAfterMs: number;
  readonly atMs: number;
  readonly reason: string;
}

/** Since `atMs` proofs of this service from before count no more: neither join tokens nor ACL tokens of Consul. */
export interface Eviction extends Caller {
  readonly atMs: number;
  readonly reason: string;
}

/** The revoked leaves of one CA, on disk in one file. */
export interface Revocations {
  /** Serials, for whoever meets the leaves: the control plane's own port, and every sidecar. */
  readonly serials: LatestValue<ReadonlySet<string>>;
  list(): readonly RevokedLeaf[];
  /** When a service was evicted last; undefined = never. */
  evictedAtMs(caller: Caller): number | undefined;
  /**
   * In force when this returns, on disk when it resolves.
   * @throws ConfigError when it could not be saved; it is in force all the same, until the next start.
   */
  add(leaves: readonly RevokedLeaf[], evictions?: readonly Eviction[]): Promise<void>;
  close(): void;
}

/** All sidecars hold them, and 20,000 are 640 kB on the wire; whoever needs more should replace the CA. */
const maxLeaves = 20_000;
const maxEvictions = 10_000;
/** Remembered after their end, for peers whose clock is behind. */
const graceMs = 3_600_000;
const pruneEveryMs = 600_000;

/** @throws ConfigError when `file` is damaged or readable by others: it must not be taken for an empty one. */
export async function openRevocations(options: {
  /** `<data-dir>/revoked.json`, 0600. */
  readonly file: string;
  readonly clock: Clock;
}): Promise<Revocations> {
  const { file, clock } = options;
  const stored = await readRevocations(file);
  const leaves = new Map(stored.leaves.map((leaf) => [leaf.serial, leaf]));
  const evictions = new Map(stored.evictions.map((one) => [nameOf(one), one]));
  const serials = new LatestValue<ReadonlySet<string>>(new Set(leaves.keys()));
  let writes: Promise<void> = Promise.resolve();

  const prune = (): boolean => {
    const sizeBefore = leaves.size;
    for (const { serial, notAfterMs } of leaves.values())
      if (clock.wallMs() > notAfterMs + graceMs) leaves.delete(serial);
    return leaves.size !== sizeBefore;
  };
  const publish = (): void => serials.set(new Set(leaves.keys()));
  // Each writes what is true when its turn comes.
  const save = (): Promise<void> => {
    const written = writes.then(() => writeRevocations(file, leaves.values(), evictions.values()));
    writes = written.catch(() => undefined);
    return written;
  };
  const tick = (): void => {
    if (prune()) {
      publish();
      void save().catch(() => undefined); // what expired is of no harm in the file
    }
    timer = clock.timer(pruneEveryMs, tick);
  };
  let timer = clock.timer(pruneEveryMs, tick);

  return {
    serials,
    list: () => [...leaves.values()],
    evictedAtMs: (caller) => evictions.get(nameOf(caller))?.atMs,
    async add(added, evicted = []) {
      prune();
      if (leaves.size + added.length > maxLeaves || evictions.size + evicted.length > maxEvictions)
        throw new ConfigError(
          `more than ${maxLeaves} certificates cannot be revoked: replace the CA instead`,
        );
      for (const leaf of added) if (!leaves.has(leaf.serial)) leaves.set(leaf.serial, leaf);
      for (const one of evicted) evictions.set(nameOf(one), one);
      if (added.length > 0) publish();
      try {
        await save();
      } catch (error: unknown) {
        const { code } = error as NodeJS.ErrnoException;
        const text = `${file} cannot be written (${code ?? String(error)})`;
        const fix = "what was revoked is in force until the next start only: free space and revoke again";
        throw new ConfigError(`${text}: ${fix}`, { cause: error });
      }
    },
    close: () => timer.cancel(),
  };
}

const nameOf = ({ service, namespace }: Caller): string => `${service}.${namespace}`;

async function readRevocations(file: string) {
  try {
    const text = await readSecretText(file);
    return text === undefined ? { leaves: [], evictions: [] } : parseRevocations(text);
  } catch (error: unknown) {
    if (!(error instanceof SyntaxError)) throw error;
    const fix = "restore it from a backup; without it revoked certificates would be good again";
    throw new ConfigError(`${file} is damaged: ${fix}`, { cause: error });
  }
}

async function writeRevocations(
  file: string,
  leaves: Iterable<RevokedLeaf>,
  evictions: Iterable<Eviction>,
): Promise<void> {
  const content = { version: 1, leaves: [...leaves], evictions: [...evictions] };
  await writeFileAtomic(file, `${JSON.stringify(content, undefined, 1)}\n`);
}

function parseRevocations(text: string): { leaves: readonly RevokedLeaf[]; evictions: readonly Eviction[] } {
  const content = JSON.parse(text) as Readonly<Record<string, unknown>> | null;
  const { version, leaves, evictions } = content ?? {};
  if (version !== 1 || !Array.isArray(leaves) || !Array.isArray(evictions)) throw new SyntaxError("version");
  const isLeaf = (leaf: Partial<RevokedLeaf> | null): boolean =>
    /^[0-9A-F]{1,42}$/.test(leaf?.serial ?? "") &&
    hasTexts(leaf, ["id", "reason"]) &&
    Number.isSafeInteger(leaf?.notAfterMs) &&
    Number.isSafeInteger(leaf?.atMs);
  const isEviction = (one: Partial<Eviction> | null): boolean =>
    hasTexts(one, ["service", "namespace", "reason"]) && Number.isSafeInteger(one?.atMs);
  if (!leaves.every(isLeaf) || !evictions.every(isEviction)) throw new SyntaxError("entry");
  return { leaves, evictions };
}

function hasTexts(value: object | null, names: readonly string[]): boolean {
  return names.every(
    (name) => typeof (value as Readonly<Record<string, unknown>> | null)?.[name] === "string",
  );
}
