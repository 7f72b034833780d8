import {
  isAlias,
  isMap,
  isNode,
  isScalar,
  isSeq,
  type Document as YamlDocument,
  type LineCounter,
  type Node,
} from "yaml";

/** Keys and indexes from the top of a document down to a value. */
export type FieldPath = readonly PropertyKey[];

export interface Position {
  readonly line: number;
  readonly column: number;
}

/** Finds the place of a field in the text of one document. */
export class YamlPosition {
  readonly #document: YamlDocument;
  readonly #lines: LineCounter;

  constructor(document: YamlDocument, lines: LineCounter) {
    this.#document = document;
    this.#lines = lines;
  }

  /** Where a mistake stands: the node, the key of the map at `path`, or the value there. */
  of(place: { readonly path: FieldPath; readonly key?: string; readonly node?: unknown }): Position {
    if (isNode(place.node)) return this.#at(place.node);
    return place.key === undefined ? this.ofValue(place.path) : this.ofKey(place.path, place.key);
  }

  /** Where the value at `path` stands; when it is absent, where the nearest value around it stands. */
  ofValue(path: FieldPath): Position {
    return this.#at(this.#walk(path).node);
  }

  /** Where the key `key` of the map at `path` stands. */
  ofKey(path: FieldPath, key: string): Position {
    const { node } = this.#walk(path);
    if (isMap(node)) {
      for (const pair of node.items) {
        if (isScalar(pair.key) && String(pair.key.value) === key) return this.#at(pair.key);
      }
    }
    return this.#at(node);
  }

  #walk(path: FieldPath): { readonly node: Node | null } {
    let node = this.#resolve(this.#document.contents);
    for (const step of path) {
      let next: unknown;
      if (isMap(node)) {
        const pair = node.items.find((item) => isScalar(item.key) && String(item.key.value) === String(step));
        // A key without a value has no node of its own.
        next = pair?.value ?? pair?.key;
      } else if (isSeq(node)) next = node.items[Number(step)];
      const found = this.#resolve(next);
      if (found === null) break;
      node = found;
    }
    return { node };
  }

  #resolve(node: unknown): Node | null {
    if (isAlias(node)) return node.resolve(this.#document) ?? node;
    return isMap(node) || isSeq(node) || isScalar(node) ? node : null;
  }

  #at(node: Node | null): Position {
    const { line, col } = this.#lines.linePos(node?.range?.[0] ?? this.#document.range?.[0] ?? 0);
    return { line: Math.max(1, line), column: Math.max(1, col) };
  }
}
