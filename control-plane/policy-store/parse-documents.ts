import { isMap, isScalar, isSeq, LineCounter, parseAllDocuments, type Document as YamlDocument } from "yaml";
import {
  type Document,
  documentSchemas,
  type Kind,
  kindProblem,
} from "../../src/config/documents/document.js";
import { ConfigError } from "../../src/errors/config-error.js";
import { checkDocument } from "./check-document.js";
import { DocumentError, type DocumentProblem } from "./document-error.js";
import { type FieldProblem, schemaProblems } from "./schema-problems.js";
import { type FieldPath, YamlPosition } from "./yaml-position.js";

/** Longest text of one file or one apply: 1 MiB, as etcd and Consul KV bound theirs in the same order of size. */
export const maxTextBytes = 1024 * 1024;
const maxDocuments = 1000;
/** Texts of hostile length would make the error itself a burden. */
const maxProblems = 100;
/** After the first errors of syntax the rest are mostly their consequences. */
const maxSyntaxProblems = 5;
/** Bound of `yaml` on what aliases expand to, against "billion laughs". */
const maxAliasCount = 100;

/** One document and the part of the text it came from. */
export interface ParsedDocument {
  readonly document: Document;
  /** Its own YAML, comments included; belongs to the caller, who may change it. */
  readonly yaml: YamlDocument;
  /** Places of its fields in the text. */
  readonly position: YamlPosition;
}

/**
 * Reads a file of YAML documents (or JSON, which is YAML). Empty documents are skipped.
 *
 * @param fileName named in the errors; it is not opened.
 * @throws DocumentError (a ConfigError) with every mistake of the file, each with line and column.
 */
export function parseDocuments(text: string, fileName: string): readonly Document[] {
  return parseYamlDocuments(text, fileName).map((parsed) => parsed.document);
}

/** As `parseDocuments`, with the YAML of each document. */
export function parseYamlDocuments(text: string, fileName: string): readonly ParsedDocument[] {
  const bytes = Buffer.byteLength(text);
  if (bytes > maxTextBytes) {
    throw new ConfigError(`${bytes} bytes are over the limit of ${maxTextBytes}; split the file`, {
      place: fileName,
    });
  }
  const lines = new LineCounter();
  const problems: DocumentProblem[] = [];
  const parsed: ParsedDocument[] = [];
  const seen = new Map<string, number>();
  const documents = readYaml(text, fileName, lines);
  if (documents.length > maxDocuments) {
    throw new ConfigError(
      `${documents.length} documents are over the limit of ${maxDocuments}; split the file`,
      {
        place: fileName,
      },
    );
  }
  for (const yaml of documents) {
    const position = new YamlPosition(yaml, lines);
    const report = (problem: FieldProblem): void => {
      const { line, column } = position.of(problem);
      const path = problem.path.map(String).join(".");
      problems.push({ line, column, message: path === "" ? problem.message : `${path}: ${problem.message}` });
    };
    for (const error of yaml.errors.slice(0, maxSyntaxProblems)) {
      const at = error.linePos?.[0] ?? { line: 1, col: 1 };
      problems.push({ line: at.line, column: at.col, message: `not YAML: ${firstLine(error.message)}` });
    }
    if (yaml.errors.length > 0 || isEmpty(yaml) || reportDuplicateKeys(yaml, report)) continue;
    const document = readDocument(yaml, report);
    if (document === undefined) continue;
    const { namespace, name } = document.metadata;
    const key = `${document.kind} ${namespace}/${name}`;
    const other = seen.get(key);
    const { line } = position.ofValue([]);
    if (other !== undefined) {
      report({ path: ["metadata", "name"], message: `${key} is already in line ${other} of this file` });
    } else seen.set(key, line);
    parsed.push({ document, yaml, position });
  }
  if (problems.length > 0) {
    problems.sort((a, b) => a.line - b.line || a.column - b.column);
    throw new DocumentError(fileName, problems.slice(0, maxProblems));
  }
  return parsed;
}

/** YAML 1.2.2 §3.2.1.1: keys of a map are unique; of two, one would be dropped silently. */
function reportDuplicateKeys(yaml: YamlDocument, report: (problem: FieldProblem) => void): boolean {
  let isFound = false;
  const walk = (node: unknown, path: FieldPath): void => {
    if (isSeq(node)) node.items.forEach((item, index) => walk(item, [...path, index]));
    if (!isMap(node)) return;
    const seen = new Set<string>();
    for (const pair of node.items) {
      const key = isScalar(pair.key) ? String(pair.key.value) : "";
      if (seen.has(key)) {
        isFound = true;
        report({ path, node: pair.key, message: `field "${key}" stands twice` });
      }
      seen.add(key);
      walk(pair.value, [...path, key]);
    }
  };
  walk(yaml.contents, []);
  return isFound;
}

function readYaml(text: string, fileName: string, lineCounter: LineCounter): readonly YamlDocument[] {
  try {
    const documents = parseAllDocuments(text, {
      lineCounter,
      prettyErrors: true,
      logLevel: "error",
      // Its own check compares every key with every other: a map of 100,000 keys would take minutes.
      uniqueKeys: false,
    });
    return Array.isArray(documents) ? documents : [];
  } catch (error: unknown) {
    // The parser descends recursively: [[[[… of a hostile file ends its stack.
    if (error instanceof RangeError) {
      throw new ConfigError("nested too deeply", { place: `${fileName}:1:1`, cause: error });
    }
    throw error;
  }
}

/** The document, or undefined when something was reported. */
function readDocument(yaml: YamlDocument, report: (problem: FieldProblem) => void): Document | undefined {
  let value: unknown;
  try {
    value = yaml.toJS({ maxAliasCount });
  } catch (error: unknown) {
    report({ path: [], message: error instanceof Error ? firstLine(error.message) : String(error) });
    return undefined;
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    report({ path: [], message: "expected a map with apiVersion, kind, metadata and spec" });
    return undefined;
  }
  const kind: unknown = Object.hasOwn(value, "kind") ? (value as { kind: unknown }).kind : undefined;
  if (typeof kind !== "string") {
    report({
      path: kind === undefined ? [] : ["kind"],
      message: 'required field "kind" is missing or not a text',
    });
    return undefined;
  }
  const wrongKind = kindProblem(kind);
  if (wrongKind !== undefined) {
    report({ path: ["kind"], message: wrongKind });
    return undefined;
  }
  const schema = documentSchemas[kind as Kind];
  const result = schema.safeParse(value);
  if (!result.success) {
    schemaProblems(schema, result.error.issues, value).forEach(report);
    return undefined;
  }
  const found = checkDocument(result.data);
  found.forEach(report);
  return found.length === 0 ? result.data : undefined;
}

/** `---` with nothing behind it. */
function isEmpty(yaml: YamlDocument): boolean {
  return yaml.contents === null || (isScalar(yaml.contents) && yaml.contents.value === null);
}

function firstLine(text: string): string {
  if (text.startsWith("Maximum call stack")) return "nested too deeply";
  return (text.split("\n", 1)[0] ?? "").replace(/ at line \d+, column \d+:?$/, "");
}
