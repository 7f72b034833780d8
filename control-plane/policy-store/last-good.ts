import { createHash } from "node:crypto";
import { readdir, readFile, rm } from "node:fs/promises";
import path from "node:path";
import { makePrivateFolder, writeFileAtomic } from "../../certs/secret-file.js";
import { DocumentError } from "./document-error.js";
import { parseYamlDocuments } from "./parse-documents.js";
import type { PolicyFile } from "./policy-file.js";

/**
 * What each policy file said when it was last right, kept over restarts: a file that somebody breaks while nobody watches
 * must not take its documents out of force, for a refusal that is gone lets everybody through.
 */
export interface LastGood {
  /** By the name of the file. A copy that cannot be read is none. */
  load(): Promise<ReadonlyMap<string, PolicyFile>>;
  /** Brings the copies up to date: of files that are wrong the copy stays, of those that are gone it goes. */
  keep(files: ReadonlyMap<string, PolicyFile>): Promise<void>;
}

/** The copies in `folder` (0700). */
export function openLastGood(folder: string): LastGood {
  let kept: ReadonlyMap<string, PolicyFile> = new Map();
  return {
    async load() {
      await makePrivateFolder(folder);
      const names = (await readdir(folder)).filter((name) => name.endsWith(".json")).sort();
      const files = new Map<string, PolicyFile>();
      for (const name of names) {
        const file = await readCopy(path.join(folder, name));
        if (file !== undefined) files.set(file.name, file);
      }
      return (kept = files);
    },
    async keep(files) {
      const next = new Map<string, PolicyFile>();
      for (const [name, file] of files) {
        const before = kept.get(name);
        const present = file.problems.length === 0 ? file : before;
        if (present === undefined) continue;
        next.set(name, present);
        if (present === before || (before !== undefined && textOf(present) === textOf(before))) continue;
        await writeFileAtomic(path.join(folder, copyName(name)), textOf(present));
      }
      for (const name of kept.keys())
        if (!files.has(name)) await rm(path.join(folder, copyName(name)), { force: true });
      kept = next;
    },
  };
}

interface Copy {
  readonly version: 1;
  readonly name: string;
  readonly documents: readonly { readonly text: string; readonly createdAtMs: number }[];
}

/** A policy file's own name may be as long as a name can be. */
function copyName(name: string): string {
  return `${createHash("sha256").update(name).digest("hex").slice(0, 32)}.json`;
}

function textOf({ name, documents }: PolicyFile): string {
  const texts = documents.map(({ text, createdAtMs }) => ({ text, createdAtMs }));
  return `${JSON.stringify({ version: 1, name, documents: texts } satisfies Copy)}\n`;
}

async function readCopy(file: string): Promise<PolicyFile | undefined> {
  try {
    const { version, name, documents } = JSON.parse(await readFile(file, "utf8")) as Partial<Copy>;
    if (version !== 1 || typeof name !== "string" || !Array.isArray(documents)) return undefined;
    const stored = documents.flatMap(({ text, createdAtMs }) =>
      parseYamlDocuments(text, name).map(({ document }) => ({ document, text, file: name, createdAtMs })),
    );
    return { name, fingerprint: "copy", documents: stored, problems: [] };
  } catch (error: unknown) {
    // Of another version, or damaged: the file itself is what counts.
    if (error instanceof SyntaxError || error instanceof TypeError || error instanceof DocumentError)
      return undefined;
    throw error;
  }
}
