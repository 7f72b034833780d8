import type { z } from "zod";
import { didYouMean } from "../../src/config/did-you-mean.js";
import type { FieldPath } from "./yaml-position.js";

/** A mistake at a path. */
export interface FieldProblem {
  readonly path: FieldPath;
  /** Set when this key of the map at `path` is wrong and not the value. */
  readonly key?: string;
  /** The very node that is wrong, when a path cannot tell (the second of two equal keys). */
  readonly node?: unknown;
  readonly message: string;
}

/** Turns what the schema refused into texts for the one who wrote the document. */
export function schemaProblems(
  schema: z.ZodType,
  issues: readonly z.core.$ZodIssue[],
  value: unknown,
): FieldProblem[] {
  return issues.flatMap((issue) => {
    const path = issue.path;
    switch (issue.code) {
      case "unrecognized_keys":
        return issue.keys.map((key) => ({
          path,
          key,
          message: `unknown field "${key}"${didYouMean(key, fieldsAt(schema, path))}`,
        }));
      case "invalid_type": {
        if (issue.expected === "never") {
          const key = String(path.at(-1));
          return [{ path: path.slice(0, -1), key, message: `"${key}" ${issue.message}` }];
        }
        const found = valueAt(value, path);
        if (found === undefined) {
          return [{ path: path.slice(0, -1), message: `required field "${String(path.at(-1))}" is missing` }];
        }
        return [
          { path, message: `expected ${article(issue.expected)}, found ${describe(found, issue.expected)}` },
        ];
      }
      case "invalid_value": {
        const found = valueAt(value, path);
        if (found === undefined) {
          return [{ path: path.slice(0, -1), message: `required field "${String(path.at(-1))}" is missing` }];
        }
        return [{ path, message: issue.message }];
      }
      case "too_small":
        return [{ path, message: sizeMessage(issue, "at least", issue.minimum) }];
      case "too_big":
        return [{ path, message: sizeMessage(issue, "at most", issue.maximum) }];
      default:
        return [{ path, message: issue.message }];
    }
  });
}

function sizeMessage(
  issue: { readonly origin: string; readonly message: string },
  bound: "at least" | "at most",
  limit: number | bigint,
): string {
  // A text of the schema's own says more than the number.
  if (!/^Too (small|big)/.test(issue.message)) return issue.message;
  if (issue.origin === "string") return `must have ${bound} ${limit} characters`;
  if (issue.origin === "array") return `must have ${bound} ${limit} items`;
  return `must be ${bound} ${limit}`;
}

const articles: Readonly<Record<string, string>> = {
  string: "a text",
  number: "a number",
  int: "a whole number",
  boolean: "true or false",
  array: "a list",
  object: "a map",
  record: "a map",
};

function article(expected: string): string {
  return articles[expected] ?? expected;
}

function describe(found: unknown, expected: string): string {
  if (found === null) return "nothing";
  if (Array.isArray(found)) return "a list";
  if (typeof found === "object") return "a map";
  const hint = expected === "string" ? `: write it in quotes, "${String(found)}"` : "";
  return `the ${typeof found} ${JSON.stringify(found)}${hint}`;
}

function valueAt(value: unknown, path: FieldPath): unknown {
  let at = value;
  for (const step of path) {
    if (typeof at !== "object" || at === null || !Object.hasOwn(at, step)) return undefined;
    at = (at as Record<PropertyKey, unknown>)[step];
  }
  return at;
}

/** The fields that the map at `path` may have. */
function fieldsAt(schema: z.ZodType, path: FieldPath): readonly string[] {
  let at: z.core.$ZodType | undefined = schema;
  for (const step of path) {
    const def = definition(at);
    at = def.type === "object" ? def.shape?.[String(step)] : def.element;
  }
  return Object.keys(definition(at).shape ?? {});
}

interface Definition {
  readonly type: string;
  readonly shape?: Readonly<Record<string, z.core.$ZodType>>;
  readonly element?: z.core.$ZodType;
  readonly innerType?: z.core.$ZodType;
}

/** The definition under what makes a field optional or gives it a default. */
function definition(schema: z.core.$ZodType | undefined): Definition {
  let def = (schema?._zod.def ?? { type: "unknown" }) as Definition;
  while (def.innerType !== undefined) def = def.innerType._zod.def as Definition;
  return def;
}
