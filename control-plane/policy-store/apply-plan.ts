import { createHash } from "node:crypto";
import { stringify } from "yaml";
import type { Document, Kind } from "../../src/config/documents/document.js";
import { createdAnnotation } from "../../src/config/documents/metadata.js";
import { canonicalJson } from "../../src/config/canonical-json.js";
import { DocumentError, type DocumentProblem } from "./document-error.js";
import { failoverLoops } from "./check-failover-loops.js";
import { faultExpiryProblems } from "./fault-expiry.js";
import type { ParsedDocument } from "./parse-documents.js";
import { createdAt, textOf } from "./policy-file.js";
import { targetText } from "./policy-target.js";
import { idOf, type StoredDocument } from "./stored-document.js";

/** What an apply did, or would do, with one document. */
export interface ApplyResult {
  readonly kind: Kind;
  readonly namespace: string;
  readonly name: string;
  readonly action: "created" | "configured" | "unchanged";
}

/** One document of an apply beside what is stored. */
export interface PlannedDocument {
  readonly result: ApplyResult;
  /** As it shall be stored. */
  readonly next: StoredDocument;
  /** As it is stored now. */
  readonly current: StoredDocument | undefined;
}

/**
 * What applying `parsed` to `stored` means. Pure.
 *
 * @throws DocumentError when the result would contradict itself.
 */
export function planApply(
  parsed: readonly ParsedDocument[],
  stored: readonly StoredDocument[],
  options: { readonly fileName: string; readonly nowMs: number },
): readonly PlannedDocument[] {
  checkTargets(parsed, stored, options.fileName);
  const loops = failoverLoops(parsed, stored);
  if (loops.length > 0) throw new DocumentError(options.fileName, loops);
  const expired = faultExpiryProblems(parsed, options.nowMs, true);
  if (expired.length > 0) throw new DocumentError(options.fileName, expired);
  const byId = new Map(stored.map((document) => [idOf(document.document), document]));
  return parsed.map((item): PlannedDocument => {
    const { document } = item;
    const current = byId.get(idOf(document));
    const createdAtMs = current?.createdAtMs ?? createdAt(item) ?? options.nowMs;
    const isSame = current !== undefined && contentOf(current.document) === contentOf(document);
    const { namespace, name } = document.metadata;
    return {
      result: {
        kind: document.kind,
        namespace,
        name,
        action: current === undefined ? "created" : isSame ? "unchanged" : "configured",
      },
      next: {
        document,
        text: storedText(item, createdAtMs),
        file: current?.file ?? fileNameOf(document),
        createdAtMs,
      },
      current,
    };
  });
}

/** File systems take names of 255 bytes; the temporary file's name is longer than the file's. */
const maxFileName = 200;

/** Neither kind nor namespace has a dot, so no two documents share a name; a long one is cut and told apart by its hash. */
function fileNameOf(document: Document): string {
  const { namespace, name } = document.metadata;
  const stem = `${document.kind}.${namespace}.${name}`;
  if (stem.length <= maxFileName) return `${stem}.yaml`;
  const hash = createHash("sha256").update(name).digest("hex").slice(0, 16);
  return `${stem.slice(0, maxFileName)}~${hash}.yaml`;
}

/** A target has one TrafficPolicy: of two, one would be without effect, and the operator should hear it now. */
function checkTargets(
  parsed: readonly ParsedDocument[],
  stored: readonly StoredDocument[],
  file: string,
): void {
  const replaced = new Set(parsed.map((item) => idOf(item.document)));
  const owners = new Map<string, string>();
  for (const { document } of stored) {
    if (document.kind !== "TrafficPolicy" || replaced.has(idOf(document))) continue;
    for (const target of document.spec.targetRefs) {
      owners.set(targetText(target, document.metadata.namespace), idOf(document));
    }
  }
  const problems: DocumentProblem[] = [];
  for (const { document, position } of parsed) {
    if (document.kind !== "TrafficPolicy") continue;
    document.spec.targetRefs.forEach((ref, index) => {
      const target = targetText(ref, document.metadata.namespace);
      const owner = owners.get(target);
      owners.set(target, owner ?? idOf(document));
      if (owner === undefined) return;
      problems.push({
        ...position.ofValue(["spec", "targetRefs", index, "name"]),
        message: `spec.targetRefs.${index}.name: ${target} already has ${owner}; change that one, or delete it first`,
      });
    });
  }
  if (problems.length > 0) throw new DocumentError(file, problems);
}

/** What counts as a change: neither the status nor the time of creation. */
function contentOf(document: StoredDocument["document"]): string {
  const annotations = { ...document.metadata.annotations, [createdAnnotation]: undefined };
  return canonicalJson({ ...document, status: undefined, metadata: { ...document.metadata, annotations } });
}

function storedText(item: ParsedDocument, createdAtMs: number): string {
  const created = new Date(createdAtMs).toISOString();
  const { yaml, document } = item;
  try {
    yaml.delete("status");
    const annotations = ["metadata", "annotations"];
    if (document.metadata.annotations === undefined) {
      yaml.setIn(annotations, yaml.createNode({ [createdAnnotation]: created }));
    } else yaml.setIn([...annotations, createdAnnotation], created);
    return textOf(yaml);
  } catch {
    // An alias stands where the annotation belongs (`metadata: *same`): written out in full, without its comments.
    const { metadata } = document;
    return stringify({
      ...document,
      status: undefined,
      metadata: { ...metadata, annotations: { ...metadata.annotations, [createdAnnotation]: created } },
    });
  }
}
