import { LineCounter, parseAllDocuments, type Document as YamlDocument } from "yaml";
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
import { YamlPosition } from "./yaml-position.js";

/** Longest text of one file or one apply: 1 MiB, as etcd and Consul KV bound theirs in the same order of size. */
export const maxTextBytes = 1024 * 1024;
const maxDocuments = 1000;
/** Texts of hostile length would make the error itself a burden. */
const maxProblems = 100;
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
      const { line, column } =
        problem.key === undefined
          ? position.ofValue(problem.path)
          : position.ofKey(problem.path, problem.key);
      const path = problem.path.map(String).join(".");
      problems.push({ line, column, message: path === "" ? problem.message : `${path}: ${problem.message}` });
    };
    for (const error of yaml.errors) {
      const at = error.linePos?.[0] ?? { line: 1, col: 1 };
      problems.push({ line: at.line, column: at.col, message: `not YAML: ${firstLine(error.message)}` });
    }
    if (yaml.errors.length > 0 || yaml.contents === null) continue;
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

function readYaml(text: string, fileName: string, lineCounter: LineCounter): readonly YamlDocument[] {
  try {
    const documents = parseAllDocuments(text, { lineCounter, prettyErrors: true, logLevel: "error" });
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

function firstLine(text: string): string {
  return (text.split("\n", 1)[0] ?? "").replace(/ at line \d+, column \d+:?$/, "");
}
