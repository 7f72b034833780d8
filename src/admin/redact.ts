/** Names of fields and headers whose text is a secret whatever it says. */
const secretName =
  /key_?pem|private_?key|api[-_]?key|secret|password|passwd|token|authorization|credential|cookie/i;
/** Anything that looks like private key material, wherever it stands. */
const privateKey = /-----BEGIN [A-Z ]*PRIVATE KEY-----/;
/** The password of a URL. */
const urlPassword = /^([a-z][a-z0-9+.-]*:\/\/[^/?#:@]*:)[^/?#]*@/i;
const maxDepth = 64;
const hidden = "[redacted]";

/** JSON data with private keys, tokens and passwords replaced by "[redacted]"; Maps become objects. Never changes its input. */
export function redact(value: unknown, depth = 0): unknown {
  if (typeof value === "string")
    return privateKey.test(value) ? hidden : value.replace(urlPassword, `$1${hidden}@`);
  if (typeof value !== "object" || value === null) return value;
  if (depth >= maxDepth) return "[too deep]";
  if (Array.isArray(value)) {
    const items: readonly unknown[] = value;
    // Header modifiers hold pairs of name and value.
    const isPair = items.length === 2 && typeof items[0] === "string" && isSecret(items[0], items[1]);
    return isPair ? [items[0], hidden] : items.map((item) => redact(item, depth + 1));
  }
  const entries = value instanceof Map ? [...value] : Object.entries(value);
  return Object.fromEntries(
    entries.map(([name, item]: [unknown, unknown]) => [
      String(name),
      isSecret(String(name), item) ? hidden : redact(item, depth + 1),
    ]),
  );
}

function isSecret(name: string, value: unknown): boolean {
  // Names that end in File, such as tokenFile, hold a path.
  return typeof value === "string" && value !== "" && secretName.test(name) && !/file$/i.test(name);
}
