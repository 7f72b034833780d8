/**
 * What an encoder does with the values of a field (RFC 7541 §6.2, §7.1.3): "index" those that come again; "literal" for what
 * differs with each message and would push the others out of the table: one value is in it, for the sake of the name; "never"
 * for secrets, which hops behind us must not index either.
 */
export type IndexingRule = "index" | "literal" | "never";

const perMessage: ReadonlySet<string> = new Set([
  ":path",
  "age",
  "content-disposition",
  "content-length",
  "content-range",
  "date",
  "etag",
  "expires",
  "grpc-message",
  "grpc-timeout",
  "grpc-trace-bin",
  "idempotency-key",
  "if-match",
  "if-modified-since",
  "if-none-match",
  "if-range",
  "if-unmodified-since",
  "last-modified",
  "link",
  "location",
  "range",
  "referer",
  "retry-after",
  "sec-websocket-accept",
  "sec-websocket-key",
  "traceparent",
  "tracestate",
  "uber-trace-id",
  "x-amzn-trace-id",
  "x-cloud-trace-context",
  "x-correlation-id",
  "x-envoy-expected-rq-timeout-ms",
  "x-envoy-upstream-service-time",
  "x-request-id",
  "x-request-start",
]);
const perMessagePrefixes = ["x-b3-", "x-datadog-", "ratelimit-", "x-ratelimit-"];

const secrets: ReadonlySet<string> = new Set([
  "authorization",
  "proxy-authorization",
  "x-api-key",
  "x-auth-token",
]);
/** Short ones can be guessed byte by byte through the table (nghttp2 has the same bound). */
const longSecretBytes = 20;

/** The rule for a field of this lower-case name; `shortRule` is for values below 20 bytes. */
export function indexingRules(name: string): {
  readonly rule: IndexingRule;
  readonly shortRule: IndexingRule;
} {
  if (name === "cookie" || name === "set-cookie") return { rule: "literal", shortRule: "never" };
  const rule = secrets.has(name) ? "never" : isPerMessage(name) ? "literal" : "index";
  return { rule, shortRule: rule };
}

/** Is a value too short for the long rule? */
export function isShort(value: string): boolean {
  return value.length < longSecretBytes;
}

function isPerMessage(name: string): boolean {
  return perMessage.has(name) || perMessagePrefixes.some((prefix) => name.startsWith(prefix));
}
