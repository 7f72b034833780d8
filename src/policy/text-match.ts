import type { TextMatch } from "../config/authorization-config.js";
import { compilePattern } from "../config/pattern.js";

/** Does the text fit? */
export type TextTest = (text: string) => boolean;

/** Throws ConfigError with `place` for a bad regular expression. */
export function compileText(match: TextMatch, place: string): TextTest {
  if (match.isCaseless !== true) return compileCased(match, place);
  if (match.type === "regex") return compileCased({ ...match, value: `(?i)${match.value}` }, place);
  const test = compileCased({ ...match, value: match.value.toLowerCase() }, place);
  return (text) => test(text.toLowerCase());
}

function compileCased({ type, value }: TextMatch, place: string): TextTest {
  switch (type) {
    case "exact":
      return (text) => text === value;
    case "prefix":
      return (text) => text.startsWith(value);
    case "suffix":
      return (text) => text.endsWith(value);
    case "contains":
      return (text) => text.includes(value);
    case "present":
      return () => true;
    case "template":
      return compileTemplate(value);
    case "regex":
      return compilePattern(value, place);
  }
}

const anySegment = "{*}";
const anyPath = "{**}";

/**
 * Istio's path templates: `{*}` is one segment that is not empty, `{**}` any text of any number of segments. After `{**}` stands
 * plain text only (control-plane/policy-store/check-authorization-policy.ts), so there is never more than one way to match.
 */
function compileTemplate(template: string): TextTest {
  const open = template.indexOf(anyPath);
  const head = (open === -1 ? template : template.slice(0, open)).split(anySegment);
  const tail = open === -1 ? undefined : template.slice(open + anyPath.length);
  const [first = "", ...rest] = head;
  return (path) => {
    if (!path.startsWith(first)) return false;
    let at = first.length;
    for (const literal of rest) {
      const slash = path.indexOf("/", at);
      const end = slash === -1 ? path.length : slash;
      if (end === at || !path.startsWith(literal, end)) return false;
      at = end + literal.length;
    }
    if (tail === undefined) return at === path.length;
    return path.length - at >= tail.length && path.endsWith(tail);
  };
}
