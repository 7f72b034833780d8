/**
 * The one table of everything that can go wrong with a request: which side caused it, what the caller is told over HTTP
 * and gRPC, the Envoy response flag in the access log, and whether another attempt may help. docs/errors.md is checked
 * against it.
 */

/** Whether a retry is allowed by the failure itself; method and body still have their say (policy/retry). */
export type Retryability =
  /** The upstream application provably never saw the request: any method may be sent again. */
  | "always"
  /** The upstream may have worked on it: only idempotent requests may be sent again. */
  | "if-idempotent"
  | "never";

export interface ErrorRow {
  readonly side: "downstream" | "upstream" | "internal";
  /** HTTP status of the reply; 0 when nobody is left to reply to. */
  readonly status: number;
  /** gRPC status code of the trailers-only reply. */
  readonly grpcStatus: number;
  /** Envoy's response flag, or "-". */
  readonly flag: string;
  readonly retry: Retryability;
  /** First words of the one-line body that operators grep for. */
  readonly text: string;
}

const row = (
  side: ErrorRow["side"],
  status: number,
  grpcStatus: number,
  flag: string,
  retry: Retryability,
  text: string,
): ErrorRow => ({ side, status, grpcStatus, flag, retry, text });

export const errorTable = {
  connect_failed: row("upstream", 502, 14, "UF", "always", "upstream connect error: connection failure"),
  connect_timeout: row("upstream", 502, 14, "UF", "always", "upstream connect error: connect timeout"),
  upstream_tls_failed: row(
    "upstream",
    502,
    14,
    "UF",
    "always",
    "upstream connect error: TLS handshake failed",
  ),
  upstream_identity_mismatch: row(
    "upstream",
    502,
    14,
    "UF",
    "always",
    "upstream connect error: identity mismatch",
  ),
  upstream_reset: row("upstream", 502, 14, "UR", "if-idempotent", "upstream reset before the response"),
  upstream_closed: row("upstream", 502, 14, "UC", "if-idempotent", "upstream closed before the response"),
  upstream_unprocessed: row(
    "upstream",
    502,
    14,
    "UC",
    "always",
    "upstream closed before the request was sent",
  ),
  keepalive_race: row(
    "upstream",
    502,
    14,
    "UC",
    "if-idempotent",
    "upstream closed a kept-alive connection in use",
  ),
  upstream_truncated: row("upstream", 502, 14, "UC", "never", "upstream response ended early"),
  upstream_protocol_error: row("upstream", 502, 13, "UPE", "never", "upstream sent an invalid response"),
  upstream_headers_too_large: row(
    "upstream",
    502,
    13,
    "UPE",
    "never",
    "upstream response head over the limit",
  ),
  no_healthy_endpoint: row("upstream", 503, 14, "UH", "if-idempotent", "no healthy upstream"),
  concurrency_limit: row("upstream", 503, 14, "UO", "never", "concurrency limit reached"),
  queue_timeout: row("upstream", 503, 14, "UO", "never", "no place in time"),
  overloaded: row("upstream", 503, 14, "UO", "always", "application overloaded"),
  circuit_open: row("upstream", 503, 14, "UO", "never", "circuit open"),
  attempt_timeout: row("upstream", 504, 4, "UT", "if-idempotent", "upstream request timeout (attempt)"),
  route_timeout: row("upstream", 504, 4, "UT", "never", "upstream request timeout (route)"),
  stream_idle_timeout: row("upstream", 504, 4, "SI", "never", "stream idle timeout"),
  no_route: row("downstream", 404, 12, "NR", "never", "no route"),
  no_backend: row("internal", 500, 14, "NC", "never", "route has no valid backend"),
  not_ready: row("internal", 503, 14, "NC", "never", "no configuration received yet"),
  plaintext_refused: row(
    "upstream",
    503,
    14,
    "UH",
    "never",
    "upstream has no sidecar and plaintext is not permitted",
  ),
  denied: row("downstream", 403, 7, "UAEX", "never", "RBAC: access denied"),
  idempotency_key_missing: row("downstream", 400, 3, "-", "never", "Idempotency-Key is missing"),
  idempotency_key_invalid: row("downstream", 400, 3, "-", "never", "Idempotency-Key is not valid"),
  idempotency_conflict: row(
    "downstream",
    409,
    10,
    "-",
    "never",
    "a request is outstanding for this Idempotency-Key",
  ),
  idempotency_mismatch: row("downstream", 422, 9, "-", "never", "Idempotency-Key is already used"),
  idempotency_not_kept: row("downstream", 422, 9, "-", "never", "the response is too long to be repeated"),
  idempotency_store_full: row(
    "internal",
    503,
    14,
    "UO",
    "never",
    "too many requests with an Idempotency-Key",
  ),
  idempotency_store_unavailable: row(
    "internal",
    503,
    14,
    "-",
    "never",
    "Idempotency-Key cannot be looked up",
  ),
  rate_limited: row("downstream", 429, 8, "RL", "never", "rate limit exceeded"),
  loop: row("downstream", 508, 10, "-", "never", "request loop"),
  malformed_request: row("downstream", 400, 13, "DPE", "never", "malformed request"),
  request_headers_too_large: row("downstream", 431, 8, "DPE", "never", "request head over the limit"),
  uri_too_long: row("downstream", 414, 8, "DPE", "never", "request target over the limit"),
  request_timeout: row("downstream", 408, 4, "DPE", "never", "request head not received in time"),
  expectation_failed: row("downstream", 417, 13, "DPE", "never", "unknown expectation"),
  method_not_supported: row("downstream", 501, 12, "DPE", "never", "method not supported"),
  version_not_supported: row("downstream", 505, 12, "DPE", "never", "HTTP version not supported"),
  transfer_coding_not_supported: row("downstream", 501, 12, "DPE", "never", "transfer coding not supported"),
  client_gone: row("downstream", 0, 1, "DC", "never", "client went away"),
  fault_injected: row("internal", 503, 14, "FI", "never", "fault injected"),
  draining: row("internal", 503, 14, "-", "never", "sidecar is draining"),
  internal: row("internal", 500, 13, "-", "never", "internal error"),
} as const satisfies Record<string, ErrorRow>;

export type ErrorCode = keyof typeof errorTable;
