import type { HeaderModifier } from "../config/snapshot.js";
import { ConfigError } from "../errors/config-error.js";
import { consistsOf, tokenBytes, valueBytes } from "../traffic/field-syntax.js";
import { removeHeader, setHeader, type Headers } from "../traffic/headers.js";

/** Fields that frame the message or belong to the connection: the codecs own them (RFC 9110 §7.6.1, RFC 9112 §6). */
const owned = new Set([
  "host", // URLRewrite.hostname changes it, together with the authority that was decided on
  "content-length",
  "transfer-encoding",
  "connection",
  "keep-alive",
  "proxy-connection",
  "te",
  "trailer",
  "upgrade",
]);

/** Sets, adds, removes, in this order (Gateway API HTTPHeaderFilter), in place. The modifier was checked before. */
export function applyHeaderModifier(headers: Headers, modifier: HeaderModifier): void {
  for (const [name, value] of modifier.set) setHeader(headers, name, value);
  // A field of its own is the same as a value appended with a comma (RFC 9110 §5.3), and right for Set-Cookie too.
  for (const [name, value] of modifier.add) headers.push(name, value);
  for (const name of modifier.remove) removeHeader(headers, name);
}

/**
 * Called when a snapshot is applied: throws ConfigError, naming `place`, for a name or value that could change where a
 * message ends, so that applying never has to look.
 */
export function checkHeaderModifier(modifier: HeaderModifier, place: string): void {
  for (const [name, value] of [...modifier.set, ...modifier.add]) {
    checkName(name, place);
    if (isFieldValue(value)) continue;
    const shown = JSON.stringify(value);
    throw new ConfigError(`header ${name}: a header cannot carry the value ${shown}`, { place });
  }
  for (const name of modifier.remove) {
    checkName(name, place);
    if (name !== name.toLowerCase())
      throw new ConfigError(`header ${name}: names to remove must be lower case`, { place });
  }
}

function checkName(name: string, place: string): void {
  if (name === "" || !consistsOf(name, tokenBytes))
    throw new ConfigError(`${JSON.stringify(name)} is not a header name`, { place });
  if (owned.has(name.toLowerCase()))
    throw new ConfigError(`header ${name} belongs to the connection: a route cannot change it`, { place });
}

/** RFC 9110 §5.5: no control character but tab, no space at the ends. */
function isFieldValue(value: string): boolean {
  return consistsOf(value, valueBytes) && !/^[ \t]|[ \t]$/.test(value);
}
