import { readFile, rm } from "node:fs/promises";
import path from "node:path";
import type { Authority } from "../../certs/authority.js";
import { writeFileAtomic } from "../../certs/secret-file.js";
import { ConfigError } from "../../src/errors/config-error.js";
import { readSecretText } from "../../src/identity/secret-text.js";
import { LatestValue } from "../../src/lifecycle/latest-value.js";
import type { Clock } from "../../src/time/clock.js";
import type { SigningCa } from "./issuer.js";
import { readRotation, writeRotation, type StoredRotation } from "./rotation-file.js";
import {
  assertUsable,
  caFiles,
  loadOrCreateRoot,
  loadRoot,
  writeCaFolder,
  type RootStoreOptions,
} from "./root-store.js";

/** The CAs of a control plane: one that signs, and during a rotation a second one. */
export interface CaState {
  readonly step: "idle" | "prepared" | "active";
  /** Signs. */
  readonly active: Authority;
  /** prepared: the next one; active: the one before. Believed, too. */
  readonly other: Authority | undefined;
  readonly preparedAtMs: number;
  readonly activatedAtMs: number;
}

/** The steps of a rotation on disk. Each is in force when it resolves, and found again after a crash at any moment. */
export interface CaStore {
  readonly state: LatestValue<CaState>;
  /** Makes the next CA, or takes it from a folder that `remora ca intermediate` or `remora ca init` made. */
  prepare(from: string | undefined): Promise<void>;
  activate(): Promise<void>;
  finish(): Promise<void>;
  abort(): Promise<void>;
}

/**
 * Opens the CA in `dir`, made there if the folder has none, and goes on with a rotation that was under way.
 * @throws ConfigError
 */
export async function openCaStore(
  options: Omit<RootStoreOptions, "nowMs"> & { readonly clock: Clock },
): Promise<CaStore> {
  const { dir, trustDomain, passphrase, clock } = options;
  const file = path.join(dir, "rotation.json");
  const nextDir = path.join(dir, "next");
  const usable = (): { dir: string; trustDomain: string; nowMs: number } => ({
    dir,
    trustDomain,
    nowMs: clock.wallMs(),
  });

  const finishing = async (stored: StoredRotation): Promise<void> => {
    await writeRotation(file, { ...stored, step: "finishing" });
    await moveFiles(nextDir, dir);
    await writeRotation(file, undefined);
    await rm(nextDir, { recursive: true, force: true });
  };
  const stored = await readRotation(file);
  if (stored?.step === "finishing") await finishing(stored);
  const known = stored?.step === "finishing" ? undefined : stored;
  const loadNext = async (): Promise<Authority> => {
    const next = await loadRoot(nextDir, passphrase);
    if (next === undefined)
      throw new ConfigError(
        `${nextDir} is missing although a rotation is under way: restore it from a backup`,
      );
    return next;
  };
  const state = new LatestValue<CaState>(
    known === undefined
      ? idle(await loadOrCreateRoot({ dir, trustDomain, passphrase, nowMs: clock.wallMs() }))
      : await underWay(known, dir, passphrase, loadNext),
  );
  assertUsable(state.get().active, usable());

  const expect = (...steps: readonly CaState["step"][]): CaState => {
    const now = state.get();
    if (steps.includes(now.step)) return now;
    throw new ConfigError(stepMistakes[now.step]);
  };
  return {
    state,
    async prepare(from) {
      const { active } = expect("idle");
      // What a finish that was cut short, or an abort, left there.
      await rm(nextDir, { recursive: true, force: true });
      if (from !== undefined) await copyFolder(from, nextDir);
      else if (active.intermediatesPem === "")
        await loadOrCreateRoot({ dir: nextDir, trustDomain, passphrase, nowMs: clock.wallMs() });
      else
        throw new ConfigError(
          "this control plane signs with an intermediate: make the next one where the root is (remora ca intermediate), and name its folder with --from",
        );
      const other = await loadNext();
      assertUsable(other, { ...usable(), dir: from ?? nextDir });
      if (other.certificate.serial === active.certificate.serial)
        throw new ConfigError(`${from ?? nextDir} holds the CA that signs already: name another one`);
      const preparedAtMs = clock.wallMs();
      await writeRotation(file, { step: "prepared", preparedAtMs, activatedAtMs: 0 });
      state.set({ step: "prepared", active, other, preparedAtMs, activatedAtMs: 0 });
    },
    async activate() {
      const { active, other, preparedAtMs } = expect("prepared");
      if (other === undefined) throw new ConfigError(stepMistakes.idle);
      assertUsable(other, usable());
      const activatedAtMs = clock.wallMs();
      await writeRotation(file, { step: "active", preparedAtMs, activatedAtMs });
      state.set({ step: "active", active: other, other: active, preparedAtMs, activatedAtMs });
    },
    async finish() {
      const { active, preparedAtMs, activatedAtMs } = expect("active");
      await finishing({ step: "finishing", preparedAtMs, activatedAtMs });
      state.set(idle(active));
    },
    async abort() {
      const { active } = expect("prepared");
      await writeRotation(file, undefined);
      state.set(idle(active));
      await rm(nextDir, { recursive: true, force: true });
    },
  };
}

/** The CA that signs in `dir` now, for somebody who is no control plane; undefined when there is none. @throws ConfigError */
export async function loadSigningCa(dir: string, passphrase?: string): Promise<SigningCa | undefined> {
  const stored = await readRotation(path.join(dir, "rotation.json"));
  const [base, next] = await Promise.all([
    loadRoot(dir, passphrase),
    stored === undefined ? undefined : loadRoot(path.join(dir, "next"), passphrase),
  ]);
  const isNext = stored !== undefined && stored.step !== "prepared";
  const authority = isNext ? next : base;
  if (authority === undefined) return undefined;
  const other = isNext ? base : next;
  return { authority, bundlePem: bundleOf({ active: authority, other }) };
}

/** PEM of every root that is believed: what sidecars get. */
export function bundleOf({ active, other }: Pick<CaState, "active" | "other">): string {
  const roots = [active.rootPem, ...(other === undefined ? [] : [other.rootPem])];
  return [...new Set(roots.map((pem) => `${pem.trim()}\n`))].join("");
}

const stepMistakes: Readonly<Record<CaState["step"], string>> = {
  idle: "no rotation of the CA is under way: begin one with remora ca rotate",
  prepared:
    "a rotation is prepared already: go on with remora ca rotate --activate, or drop it with remora ca rotate --abort",
  active: "the new CA signs already: go on with remora ca rotate --finish",
};

function idle(active: Authority): CaState {
  return { step: "idle", active, other: undefined, preparedAtMs: 0, activatedAtMs: 0 };
}

async function underWay(
  { step, preparedAtMs, activatedAtMs }: StoredRotation,
  dir: string,
  passphrase: string | undefined,
  loadNext: () => Promise<Authority>,
): Promise<CaState> {
  const base = await loadRoot(dir, passphrase);
  const next = await loadNext();
  if (base === undefined) throw new ConfigError(`${dir} holds no CA: restore it from a backup`);
  const isActive = step !== "prepared";
  const [active, other] = isActive ? [next, base] : [base, next];
  return { step: isActive ? "active" : "prepared", active, other, preparedAtMs, activatedAtMs };
}

/** Files of a CA folder, by name. */
async function readFolder(dir: string): Promise<Readonly<Record<string, string>>> {
  const files: Record<string, string> = {};
  for (const name of Object.values(caFiles)) {
    const file = path.join(dir, name);
    const text = name.endsWith(".key") ? await readSecretText(file) : await readIfThere(file);
    if (text !== undefined) files[name] = text;
  }
  return files;
}

async function copyFolder(from: string, to: string): Promise<void> {
  const files = await readFolder(from);
  if (files[caFiles.rootCert] === undefined)
    throw new ConfigError(`${from} holds no CA: make one with remora ca intermediate, or remora ca init`);
  // Of an offline root only the certificate is wanted here.
  const { [caFiles.rootKey]: rootKey, ...rest } = files;
  const isIntermediate = files[caFiles.intermediateKey] !== undefined;
  await writeCaFolder(to, isIntermediate || rootKey === undefined ? rest : files);
}

/** Safe to repeat: each file is replaced as a whole, and what the new CA does not have goes last. */
async function moveFiles(from: string, to: string): Promise<void> {
  const files = await readFolder(from);
  if (files[caFiles.rootCert] === undefined)
    throw new ConfigError(`${from} holds no CA: restore it from a backup`);
  for (const [name, text] of Object.entries(files))
    await writeFileAtomic(path.join(to, name), text, name.endsWith(".key") ? 0o600 : 0o644);
  for (const name of Object.values(caFiles))
    if (files[name] === undefined) await rm(path.join(to, name), { force: true });
}

async function readIfThere(file: string): Promise<string | undefined> {
  try {
    return await readFile(file, "utf8");
  } catch (error: unknown) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw new ConfigError(`cannot read ${file} (${(error as NodeJS.ErrnoException).code})`, { cause: error });
  }
}
