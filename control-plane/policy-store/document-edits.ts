import { idOf, versionOf, type DocumentName, type StoredDocument } from "./stored-document.js";

/** A document that is another than before. */
export interface DocumentEdit extends DocumentName {
  readonly action: "created" | "changed" | "deleted";
  readonly file: string;
  /** Of its content; of one that was deleted, what it was. */
  readonly version: string;
}

/** From one state of the store to the next. Pure. */
export function documentEdits(
  before: readonly StoredDocument[],
  after: readonly StoredDocument[],
): readonly DocumentEdit[] {
  const known = new Map(before.map((stored) => [idOf(stored.document), stored]));
  const edits: DocumentEdit[] = [];
  for (const stored of after) {
    const id = idOf(stored.document);
    const old = known.get(id);
    known.delete(id);
    if (old?.text !== stored.text) edits.push(editOf(old === undefined ? "created" : "changed", stored));
  }
  return [...edits, ...[...known.values()].map((stored) => editOf("deleted", stored))];
}

function editOf(action: DocumentEdit["action"], stored: StoredDocument): DocumentEdit {
  const { kind, metadata } = stored.document;
  const { namespace, name } = metadata;
  return { action, kind, namespace, name, file: stored.file, version: versionOf(stored) };
}
