import { rm } from "node:fs/promises";
import { readStateFile, writeStateFile, type StateFields } from "../state-file.js";

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
  const fix = "restore it from a backup; it says which of two CAs signs";
  return readStateFile(file, { parse: parseRotation, fix });
}

/** undefined removes it. */
export async function writeRotation(file: string, rotation: StoredRotation | undefined): Promise<void> {
  if (rotation === undefined) return rm(file, { force: true });
  await writeStateFile(file, { ...rotation });
}

function parseRotation({ step, preparedAtMs, activatedAtMs }: StateFields): StoredRotation | undefined {
  const isWhole =
    steps.includes(step) && Number.isSafeInteger(preparedAtMs) && Number.isSafeInteger(activatedAtMs);
  return isWhole ? ({ step, preparedAtMs, activatedAtMs } as StoredRotation) : undefined;
}
