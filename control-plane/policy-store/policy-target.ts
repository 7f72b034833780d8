import { documentId } from "../../src/config/documents/document.js";
import type { TargetRef } from "../../src/config/documents/target-ref.js";

/** The part of a target that names it. */
export type Target = Pick<TargetRef, "kind" | "name" | "sectionName">;

/**
 * What a policy of `namespace` is attached to, as one text: `service reviews.default`, `HTTPRoute/default/reviews`, or
 * `HTTPRoute/default/reviews rule canary`. Each has at most one policy.
 */
export function targetText({ kind, name, sectionName }: Target, namespace: string): string {
  if (kind === "Service") return `service ${name}.${namespace}`;
  const route = documentId(kind, namespace, name);
  return sectionName === undefined ? route : `${route} rule ${sectionName}`;
}
