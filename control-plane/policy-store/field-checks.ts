import { ConfigError } from "../../src/errors/config-error.js";
import type { HeaderMatch } from "../../src/config/documents/header-match.js";
import { compilePattern } from "../../src/config/pattern.js";
import type { FieldPath } from "./yaml-position.js";

/** Takes one mistake of a document. */
export type Report = (path: FieldPath, message: string) => void;

/** Reports every name that stands twice; `pathOf` is the path of the name at an index. */
export function checkUnique(
  names: readonly (string | undefined)[],
  pathOf: (index: number) => FieldPath,
  what: string,
  report: Report,
): void {
  const seen = new Set<string>();
  names.forEach((name, index) => {
    if (name === undefined) return;
    if (seen.has(name)) report(pathOf(index), `${what} ${name} is named twice`);
    seen.add(name);
  });
}

/** Reports an expression that RE2 does not accept, and says whether it does. */
export function checkRegex(text: string, path: FieldPath, report: Report): boolean {
  try {
    compilePattern(text, "");
    return true;
  } catch (error: unknown) {
    if (!(error instanceof ConfigError)) throw error;
    report(path, `${error.message.replace(/^: /, "")} (RE2 has no lookaround and no back-references)`);
    return false;
  }
}

/** Gateway API: of equal names only the first counts, which nobody means. */
export function checkHeaderMatches(
  headers: readonly HeaderMatch[] | undefined,
  path: FieldPath,
  report: Report,
): void {
  headers?.forEach((item, index) => {
    if (item.type === "RegularExpression") checkRegex(item.value, [...path, index, "value"], report);
  });
  checkUnique(
    (headers ?? []).map((item) => item.name.toLowerCase()),
    (index) => [...path, index, "name"],
    "header",
    report,
  );
}
