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
          message: `unknown field "${key}"${instead(key, fieldsAt(schema, path))}`,
        }));
      case "invalid_type": {
        if (issue.expected === "never") {
          const key = String(path.at(-1));
          return [{ path: path.slice(0, -1), key, message: `"${key}" ${issue.message}` }];
        }
        const found = valueAt(value, path);
        if (found === undefined) {
          const why = isOwn(issue.message) ? `: ${issue.message}` : "";
          const message = `required field "${String(path.at(-1))}" is missing${why}`;
          return [{ path: path.slice(0, -1), message }];
        }
        if (isOwn(issue.message)) return [{ path, message: issue.message }];
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
      case "invalid_key": {
        const key = String(path.at(-1));
        const reason = issue.issues[0]?.message ?? issue.message;
        return [{ path: path.slice(0, -1), key, message: `"${key}" is not valid: ${reason}` }];
      }
      case "invalid_union":
        return unionProblems(schema, issue, value);
      case "too_small":
        return [{ path, message: sizeMessage(issue, "at least", issue.minimum) }];
      case "too_big":
        return [{ path, message: sizeMessage(issue, "at most", issue.maximum) }];
      default:
        return [{ path, message: issue.message }];
    }
  });
}

/** A text of the schema's own says more than what zod has for everybody. */
function isOwn(message: string): boolean {
  return !message.startsWith("Invalid input");
}

/** More names than these are not read. */
const maxNames = 12;

/** What might have been meant, else what there is. */
function instead(key: string, fields: readonly string[]): string {
  const guess = didYouMean(key, fields);
  if (guess !== "" || fields.length === 0 || fields.length > maxNames) return guess;
  return `, expected ${fields.length === 1 ? "" : "one of "}${fields.join(", ")}`;
}

/** What is wrong with the form that the value has; when it has none of them, which there are. */
function unionProblems(
  schema: z.ZodType,
  issue: z.core.$ZodIssueInvalidUnion,
  value: unknown,
): readonly FieldProblem[] {
  const isWrongForm = ({ code, path }: z.core.$ZodIssue): boolean =>
    code === "invalid_type" && path.length === 0;
  const fitting = issue.errors.find((branch) => !branch.some(isWrongForm));
  if (fitting !== undefined) {
    const issues = fitting.map((each) => ({ ...each, path: [...issue.path, ...each.path] }));
    return schemaProblems(schema, issues, value);
  }
  const forms = issue.errors.flatMap((branch) =>
    branch.flatMap((each) => (each.code === "invalid_type" ? [article(each.expected)] : [])),
  );
  const found = describe(valueAt(value, issue.path), "");
  return [{ path: issue.path, message: `expected ${forms.join(" or ")}, found ${found}` }];
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

/** The fields that the map at `path` may have, without those that are there to be refused. */
function fieldsAt(schema: z.ZodType, path: FieldPath): readonly string[] {
  let at: z.core.$ZodType | undefined = schema;
  for (const step of path) {
    const def = definition(at, typeof step === "number" ? "array" : "object");
    at = def.type === "object" ? def.shape?.[String(step)] : def.element;
  }
  return Object.entries(definition(at, "object").shape ?? {})
    .filter(([, field]) => definition(field, "object").type !== "never")
    .map(([name]) => name);
}

interface Definition {
  readonly type: string;
  readonly shape?: Readonly<Record<string, z.core.$ZodType>>;
  readonly element?: z.core.$ZodType;
  readonly innerType?: z.core.$ZodType;
  readonly options?: readonly z.core.$ZodType[];
}

/** The definition under what makes a field optional or gives it a default; of several forms the one of this type. */
function definition(schema: z.core.$ZodType | undefined, type: "array" | "object"): Definition {
  let def = (schema?._zod.def ?? { type: "unknown" }) as Definition;
  while (def.innerType !== undefined) def = def.innerType._zod.def as Definition;
  if (def.options === undefined) return def;
  const forms = def.options.map((option) => definition(option, type));
  return forms.find((form) => form.type === type) ?? def;
}
