import { framingFields } from "./check-filters.js";
import type { Report } from "./field-checks.js";
import type { FieldPath } from "./yaml-position.js";

/** Headers that an answer of the sidecar's own cannot be given: the connection has them, or the mesh writes them. */
export function checkReplyHeaders(
  headers: readonly { readonly name: string }[] | undefined,
  path: FieldPath,
  report: Report,
): void {
  headers?.forEach(({ name }, index) => {
    const lower = name.toLowerCase();
    if (framingFields.has(lower)) report([...path, index, "name"], `${lower} belongs to the connection`);
    else if (lower.startsWith("x-remora-"))
      report([...path, index, "name"], `${lower} is written by the mesh`);
  });
}
