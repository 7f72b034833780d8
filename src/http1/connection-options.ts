/** More options than any honest sender names; each costs a comparison per field. */
const maxOptions = 64;

/**
 * Fields that a client's Connection option must never take off: framing, credentials, and what this or an earlier hop of
 * the mesh states about the request (CVE-2022-31813, CVE-2024-45410). The codec itself rules over TE and Upgrade.
 */
const notRemovable = new Set([
  "authorization",
  "content-encoding",
  "content-length",
  "content-type",
  "cookie",
  "expect",
  "forwarded",
  "host",
  "set-cookie",
  "te",
  "traceparent",
  "tracestate",
  "trailer",
  "transfer-encoding",
  "x-real-ip",
  "x-request-id",
]);
const notRemovablePrefixes = ["x-forwarded-", "x-remora-"];

/** What the Connection fields of one message say (RFC 9110 §7.6.1). */
export class ConnectionOptions {
  close = false;
  keepAlive = false;
  upgrade = false;
  /** Lower-case names of fields meant for this connection only; null when there are none. */
  nominated: string[] | null = null;
  #count = 0;

  /** Adds one field's value, a comma-separated list. False when there are too many options. */
  add(value: string): boolean {
    // The two spellings that nearly every message has.
    if (value === "keep-alive" || value === "Keep-Alive") {
      this.keepAlive = true;
      return ++this.#count <= maxOptions;
    }
    for (let start = 0; start <= value.length;) {
      const comma = value.indexOf(",", start);
      const end = comma < 0 ? value.length : comma;
      if (++this.#count > maxOptions) return false;
      this.#note(value.slice(start, end).trim().toLowerCase());
      start = end + 1;
    }
    return true;
  }

  #note(option: string): void {
    if (option === "close") this.close = true;
    else if (option === "keep-alive") this.keepAlive = true;
    else if (option === "upgrade") this.upgrade = true;
    else if (option !== "" && isRemovable(option)) (this.nominated ??= []).push(option);
  }
}

function isRemovable(name: string): boolean {
  return !notRemovable.has(name) && !notRemovablePrefixes.some((prefix) => name.startsWith(prefix));
}
