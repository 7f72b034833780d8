import { ConfigError } from "../../src/errors/config-error.js";
import { LatestValue } from "../../src/lifecycle/latest-value.js";
import type { Clock } from "../../src/time/clock.js";
import { readStateFile, writeStateFile, type StateFields } from "../state-file.js";
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
    const written = writes.then(() =>
      writeStateFile(file, { leaves: [...leaves.values()], evictions: [...evictions.values()] }),
    );
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

interface Stored {
  readonly leaves: readonly RevokedLeaf[];
  readonly evictions: readonly Eviction[];
}

async function readRevocations(file: string): Promise<Stored> {
  const fix = "restore it from a backup; without it revoked certificates would be good again";
  return (await readStateFile(file, { parse: parseRevocations, fix })) ?? { leaves: [], evictions: [] };
}

function parseRevocations({ leaves, evictions }: StateFields): Stored | undefined {
  const isWhole =
    Array.isArray(leaves) && leaves.every(isLeaf) && Array.isArray(evictions) && evictions.every(isEviction);
  return isWhole ? { leaves, evictions } : undefined;
}

function isLeaf(value: unknown): value is RevokedLeaf {
  const { serial, notAfterMs, atMs }: Partial<RevokedLeaf> = value ?? {};
  return (
    /^[0-9A-F]{1,42}$/.test(serial ?? "") &&
    hasTexts(value, ["id", "reason"]) &&
    Number.isSafeInteger(notAfterMs) &&
    Number.isSafeInteger(atMs)
  );
}

function isEviction(value: unknown): value is Eviction {
  const { atMs }: Partial<Eviction> = value ?? {};
  return hasTexts(value, ["service", "namespace", "reason"]) && Number.isSafeInteger(atMs);
}

function hasTexts(value: unknown, names: readonly string[]): boolean {
  return names.every((name) => typeof (value as StateFields | null)?.[name] === "string");
}
