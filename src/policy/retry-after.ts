/**
 * Milliseconds that grpc-retry-pushback-ms asks to wait, >= 0; Infinity when it asks not to retry at all, which is also what
 * an unreadable value means; undefined when it is absent. gRPC proposal A6, "Pushback".
 */
export function parseRetryPushbackMs(value: string | undefined): number | undefined {
  if (value === undefined) return undefined;
  return /^[0-9]{1,10}$/.test(value) ? Number(value) : Infinity;
}

/**
 * Milliseconds that a Retry-After field asks to wait, >= 0; undefined when it is absent or not understood.
 * RFC 9110 §10.2.3: seconds, or an HTTP date.
 *
 * @param wallMs Unix time now, for dates.
 */
export function parseRetryAfterMs(value: string | undefined, wallMs: number): number | undefined {
  if (value === undefined) return undefined;
  const text = value.trim();
  if (/^[0-9]{1,10}$/.test(text)) return Number(text) * 1000;
  // Only IMF-fixdate, which every sender must use (§5.6.7); Date.parse alone would accept almost anything.
  if (!/^[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9:]{8} GMT$/.test(text)) return undefined;
  const atMs = Date.parse(text);
  return Number.isNaN(atMs) ? undefined : Math.max(0, atMs - wallMs);
}
