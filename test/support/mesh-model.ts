/** Models of meshes for tests of the compiler. */
import { stringify } from "yaml";
import type { CatalogState, Instance } from "../../control-plane/catalog/catalog.js";
import { parseDocuments } from "../../control-plane/policy-store/parse-documents.js";
import type { StoredDocument } from "../../control-plane/policy-store/stored-document.js";

/** A healthy instance with a sidecar, whose port ends with the number at the end of the id. */
export function instance(id: string, over: Partial<Instance> = {}): Instance {
  return {
    id,
    address: "10.0.0.1",
    port: 8080,
    meshPort: 15_000 + Number(/\d+$/.exec(id)?.[0] ?? 0),
    status: "passing",
    protocol: "http",
    weight: 1,
    zone: "",
    meta: {},
    tags: [],
    ...over,
  };
}

/** A registry; keys are `<service>.<namespace>`. */
export function catalogOf(services: Readonly<Record<string, readonly Instance[]>>): CatalogState {
  return {
    services: new Map(
      Object.entries(services).map(([key, instances]) => {
        const dot = key.lastIndexOf(".");
        return [key, { name: key.slice(0, dot), namespace: key.slice(dot + 1), instances }];
      }),
    ),
    staleSince: undefined,
  };
}

/** Documents in the order of their age. */
export function documentsOf(yaml: string): readonly StoredDocument[] {
  return parseDocuments(yaml, "test.yaml").map((document, index) => ({
    document,
    text: stringify(document),
    file: `${index}.yaml`,
    createdAtMs: index,
  }));
}
