/** A field name as a message or a layer spelled it, and what HTTP/2 needs to know of it. */
export interface FieldName {
  readonly raw: string;
  readonly lower: string;
  /** Each-Word-With-A-Capital. */
  readonly title: string;
  /** Belongs to a connection of HTTP/1.x and would make a message malformed (RFC 9113 §8.2.2). */
  readonly isConnectionField: boolean;
}

const connectionFields: ReadonlySet<string> = new Set([
  "connection",
  "http2-settings",
  "keep-alive",
  "proxy-connection",
  "transfer-encoding",
  "upgrade",
]);

/** Spellings that are remembered: all of an ordinary mesh. Whoever sends ever new names makes us forget, no more. */
const maxKnown = 1024;
const maxKnownLength = 64;
const known = new Map<string, FieldName>();

/** Looks a name up, in whatever case it came. */
export function fieldName(raw: string): FieldName {
  return known.get(raw) ?? learn(raw);
}

function learn(found: string): FieldName {
  const lower = found.toLowerCase();
  const title = lower.replace(/(?<=^|-)[a-z]/g, (letter) => letter.toUpperCase());
  const isConnectionField = connectionFields.has(lower);
  if (found.length > maxKnownLength) return { raw: found, lower, title, isConnectionField };
  // Copies: a name that is cut out of a head would keep all of that head in memory.
  const name: FieldName = { raw: copyOf(found), lower: copyOf(lower), title, isConnectionField };
  if (known.size >= maxKnown) known.clear();
  known.set(name.raw, name);
  return name;
}

function copyOf(text: string): string {
  return Buffer.from(text).toString();
}
