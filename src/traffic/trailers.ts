/**
 * Fields that must not come as trailers (RFC 9110 §6.5.1): framing, routing, authentication, request modifiers, response
 * control and content format, plus what the mesh itself sets and trusts. Merged by a careless recipient they would change
 * a message whose head was already acted upon.
 */
const forbidden = new Set([
  "accept-encoding",
  "age",
  "authentication-info",
  "authorization",
  "cache-control",
  "connection",
  "content-encoding",
  "content-length",
  "content-location",
  "content-range",
  "content-type",
  "cookie",
  "date",
  "expect",
  "expires",
  "forwarded",
  "host",
  "http2-settings",
  "keep-alive",
  "location",
  "max-forwards",
  "pragma",
  "range",
  "retry-after",
  "set-cookie",
  "te",
  "traceparent",
  "tracestate",
  "trailer",
  "transfer-encoding",
  "upgrade",
  "vary",
  "warning",
  "www-authenticate",
  "x-real-ip",
  "x-request-id",
]);
const forbiddenPrefixes = ["if-", "proxy-", "x-forwarded-", "x-remora-"];

/** May a field of this name, in any letter case or with "_" for "-", not be forwarded as a trailer? Codecs drop it. */
export function isForbiddenTrailer(name: string): boolean {
  const lower = name.toLowerCase().replaceAll("_", "-");
  return forbidden.has(lower) || forbiddenPrefixes.some((prefix) => lower.startsWith(prefix));
}
