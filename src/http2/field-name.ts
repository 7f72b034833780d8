/** A field name as HTTP/2 writes it, and how the sender spelled it. */
export interface FieldName {
  readonly lower: string;
  /** "lower": as it is; "title": Each-Word-With-A-Capital; "other": neither. */
  readonly style: "lower" | "title" | "other";
}

/** Spellings that are remembered: all of an ordinary mesh. Whoever sends ever new names makes us forget, no more. */
const maxKnown = 2048;
const known = new Map<string, FieldName>();

/** Looks a name up, in whatever case it came. */
export function fieldName(raw: string): FieldName {
  return known.get(raw) ?? learn(raw);
}

/** X-Request-Id for x-request-id. */
export function titleCase(lower: string): string {
  return lower.replace(/(?<=^|-)[a-z]/g, (letter) => letter.toUpperCase());
}

function learn(raw: string): FieldName {
  const lower = raw.toLowerCase();
  // A name without letters is spelled one way only.
  const style = raw === lower ? "lower" : raw === titleCase(lower) ? "title" : "other";
  const name: FieldName = { lower, style };
  if (known.size >= maxKnown) known.clear();
  known.set(raw, name);
  return name;
}
