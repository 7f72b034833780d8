import { createHash } from "node:crypto";
import { type Document, type Kind, documentId } from "../../src/config/documents/document.js";

/** A document in force, with what the store knows of it. Immutable. */
export interface StoredDocument {
  readonly document: Document;
  /** Its YAML as it stands in the store. */
  readonly text: string;
  /** Name of the file in the store's directory. */
  readonly file: string;
  /** When it was first applied, Unix milliseconds; stable over changes and restarts. Older documents take precedence. */
  readonly createdAtMs: number;
}

/** What tells a document from all others. */
export interface DocumentName {
  readonly kind: Kind;
  readonly namespace: string;
  readonly name: string;
}

/** `HTTPRoute/default/reviews`. */
export function idOf(document: Document): string {
  return documentId(document.kind, document.metadata.namespace, document.metadata.name);
}

/** Tells one content of a document from another: the first digits of its SHA-256. */
export function versionOf({ text }: StoredDocument): string {
  return createHash("sha256").update(text).digest("hex").slice(0, 12);
}

/** Oldest first, then by namespace and name (Gateway API: "ties … continue on … creation timestamp … alphabetical order"). */
export function compareAge(a: StoredDocument, b: StoredDocument): number {
  const left = a.document;
  const right = b.document;
  return (
    a.createdAtMs - b.createdAtMs ||
    compareText(left.metadata.namespace, right.metadata.namespace) ||
    compareText(left.metadata.name, right.metadata.name) ||
    compareText(left.kind, right.kind)
  );
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
