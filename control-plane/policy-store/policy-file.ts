import { readFile, stat } from "node:fs/promises";
import path from "node:path";
import type { Document as YamlDocument } from "yaml";
import { createdAnnotation } from "../../src/config/documents/metadata.js";
import { DocumentError } from "./document-error.js";
import { faultExpiryProblems } from "./fault-expiry.js";
import { maxTextBytes, type ParsedDocument, parseYamlDocuments } from "./parse-documents.js";
import { idOf, type StoredDocument } from "./stored-document.js";

/** One file of the store as it was last read. */
export interface PolicyFile {
  readonly name: string;
  /** Changes whenever the file does. */
  readonly fingerprint: string;
  /** The last good version of its documents, in the order of the file. */
  readonly documents: readonly StoredDocument[];
  /** What is wrong with its present text; empty when `documents` is what it says. */
  readonly problems: readonly string[];
}

/**
 * Reads a file of the store. Never throws: what cannot be read or is wrong becomes `problems`, and the documents of
 * `previous` stay.
 *
 * @param createdBefore createdAtMs of documents already known, by id: an editor that replaces a file does not make its
 *   documents younger.
 */
export async function readPolicyFile(
  directory: string,
  name: string,
  previous: PolicyFile | undefined,
  createdBefore: ReadonlyMap<string, number>,
): Promise<PolicyFile> {
  const file = path.join(directory, name);
  let fingerprint = "unreadable";
  const keep = (problems: readonly string[]): PolicyFile => ({
    name,
    fingerprint,
    documents: previous?.documents ?? [],
    problems,
  });
  try {
    const info = await stat(file, { bigint: true });
    fingerprint = `${info.ino}/${info.size}/${info.mtimeNs}/${info.ctimeNs}`;
    if (previous?.fingerprint === fingerprint) return previous;
    if (!info.isFile()) return keep([`${name}: is not a file`]);
    if (info.size > BigInt(maxTextBytes)) {
      return keep([`${name}: ${info.size} bytes are over the limit of ${maxTextBytes}; split the file`]);
    }
    const text = await readFile(file, "utf8");
    // An editor that truncates before it writes shows an empty file for a moment.
    if (text.trim() === "" && (previous?.documents.length ?? 0) > 0) {
      return keep([`${name}: is empty; remove the file to remove its documents`]);
    }
    const parsedAll = parseYamlDocuments(text, name);
    const endless = faultExpiryProblems(parsedAll, Number(info.mtimeMs), false);
    if (endless.length > 0) throw new DocumentError(name, endless);
    const documents = parsedAll.map((parsed): StoredDocument => {
      const known = createdBefore.get(idOf(parsed.document));
      const createdAtMs = createdAt(parsed) ?? known ?? Math.floor(Number(info.birthtimeMs));
      return { document: parsed.document, text: textOf(parsed.yaml), file: name, createdAtMs };
    });
    return { name, fingerprint, documents, problems: [] };
  } catch (error: unknown) {
    if (error instanceof DocumentError) return keep(error.message.split("\n"));
    return keep([
      `${name}: ${error instanceof Error ? error.message.replace(`${name}: `, "") : String(error)}`,
    ]);
  }
}

/** The time that the document itself names, Unix milliseconds. */
export function createdAt(parsed: ParsedDocument): number | undefined {
  const text = parsed.document.metadata.annotations?.[createdAnnotation];
  return text === undefined ? undefined : Date.parse(text);
}

/** The YAML of one document alone, ending with a line break. */
export function textOf(yaml: YamlDocument): string {
  if (yaml.directives !== undefined) yaml.directives.docStart = null;
  return yaml.toString({ lineWidth: 0 });
}

/** The text of a file that holds these documents. */
export function joinTexts(texts: readonly string[]): string {
  return texts.map((text) => (text.endsWith("\n") ? text : `${text}\n`)).join("---\n");
}
