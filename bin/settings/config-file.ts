import { readFile } from "node:fs/promises";
import type { LineCounter, Node } from "yaml";
import { didYouMean } from "../../src/config/did-you-mean.js";
import { UsageError } from "../failure.js";
import type { Settings } from "./setting.js";

/** What a settings file says of one setting. */
export interface FileEntry {
  readonly texts: readonly string[];
  /** `remora.yaml:4:7` */
  readonly place: string;
}

/** Key: the setting's. */
export type ConfigFile = ReadonlyMap<string, FileEntry>;

const maxBytes = 1024 * 1024;

/**
 * Reads a YAML file of settings: a flat map. Lists are written as YAML lists, NAME=VALUE lists also as maps.
 *
 * @throws UsageError with file:line:col; a key that is no setting of the command is a mistake.
 */
export async function readConfigFile(file: string, settings: Settings): Promise<ConfigFile> {
  const { parseDocument, LineCounter, isMap, isScalar, isSeq } = await import("yaml");
  const text = await readText(file);
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: true, uniqueKeys: true });
  const [problem] = document.errors;
  if (problem !== undefined) {
    const at = problem.linePos?.[0];
    const message = (problem.message.split("\n", 1)[0] ?? "").replace(/ at line \d+, column \d+:?$/, "");
    throw new UsageError(
      `${file}:${at?.line ?? 1}:${at?.col ?? 1}`,
      `not YAML: ${message}; correct the file`,
    );
  }
  const entries = new Map<string, FileEntry>();
  const { contents } = document;
  if (contents === null || (isScalar(contents) && contents.value === null)) return entries;
  if (!isMap(contents))
    throw new UsageError(`${file}:1:1`, "is not a map; write one setting a line, key: value");
  const known = Object.keys(settings).filter(
    (key) => settings[key]?.isFlagOnly === false && key !== "config",
  );
  for (const { key, value } of contents.items) {
    const name = isScalar(key) ? String(key.value) : "";
    const keyPlace = placeOf(file, lines, key as Node);
    if (!known.includes(name))
      throw new UsageError(
        keyPlace,
        `unknown key "${name}"${didYouMean(name, known) || `; known are ${known.join(", ")}`}`,
      );
    const place = value === null ? keyPlace : placeOf(file, lines, value as Node);
    const isList = settings[name]?.kind === "list";
    const scalar = (node: unknown): string => {
      if (isScalar(node) && node.value !== null && typeof node.value !== "object") return String(node.value);
      throw new UsageError(
        place,
        `${name} must be ${isList ? "a list of texts" : "one value"}; correct the file`,
      );
    };
    if (isList && isSeq(value)) entries.set(name, { texts: value.items.map(scalar), place });
    else if (isList && isMap(value)) {
      const pairs = value.items.map((pair) => `${scalar(pair.key)}=${scalar(pair.value)}`);
      entries.set(name, { texts: pairs, place });
    } else entries.set(name, { texts: [scalar(value)], place });
  }
  return entries;
}

async function readText(file: string): Promise<string> {
  try {
    const bytes = await readFile(file);
    if (bytes.length > maxBytes)
      throw new UsageError("--config", `${file} is over 1 MiB; name a file of settings`);
    return bytes.toString("utf8");
  } catch (error: unknown) {
    if (error instanceof UsageError) throw error;
    const { code } = error as NodeJS.ErrnoException;
    throw new UsageError("--config", `cannot read ${file} (${code}); check the path and its permissions`);
  }
}

function placeOf(file: string, lines: LineCounter, node: Node): string {
  const { line, col } = lines.linePos(node.range?.[0] ?? 0);
  return `${file}:${Math.max(1, line)}:${Math.max(1, col)}`;
}
