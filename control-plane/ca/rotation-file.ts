import { readFile, rm } from "node:fs/promises";
import { writeFileAtomic } from "../../certs/secret-file.js";
import { ConfigError } from "../../src/errors/config-error.js";

/**
 * How far the replacement of a CA has come, as it stands on disk. prepared: `next/` holds the new one, the old one signs.
 * active: the new one signs, the old one is still believed. finishing: the old one is being removed.
 */
export interface StoredRotation {
  readonly step: "prepared" | "active" | "finishing";
  /** Unix milliseconds. */
  readonly preparedAtMs: number;
  /** Unix milliseconds; 0 before. */
  readonly activatedAtMs: number;
}

const steps: readonly unknown[] = ["prepared", "active", "finishing"];

/** @throws ConfigError when it is damaged: it must not be taken for no rotation at all. */
export async function readRotation(file: string): Promise<StoredRotation | undefined> {
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (error: unknown) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT") return undefined;
    throw new ConfigError(`cannot read ${file} (${code})`, { cause: error });
  }
  try {
    const { version, step, preparedAtMs, activatedAtMs } = JSON.parse(text) as Record<string, unknown>;
    const isWhole = version === 1 && steps.includes(step);
    if (isWhole && Number.isSafeInteger(preparedAtMs) && Number.isSafeInteger(activatedAtMs))
      return { step, preparedAtMs, activatedAtMs } as StoredRotation;
  } catch {
    // Told below.
  }
  const fix = "restore it from a backup; it says which of two CAs signs";
  throw new ConfigError(`${file} is damaged: ${fix}`);
}

/** undefined removes it. */
export async function writeRotation(file: string, rotation: StoredRotation | undefined): Promise<void> {
  if (rotation === undefined) return rm(file, { force: true });
  await writeFileAtomic(file, `${JSON.stringify({ version: 1, ...rotation }, undefined, 1)}\n`);
}
