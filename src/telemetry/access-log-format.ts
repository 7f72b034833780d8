/** What one line of the access log tells. "" and -1 mean: there is none. */
export interface AccessLogEntry {
  /** When the request head was complete, Unix milliseconds. */
  readonly startWallMs: number;
  readonly method: string;
  /** Path and query as received. */
  readonly path: string;
  /** `HTTP/1.1` and so on. */
  readonly protocol: string;
  /** 0 when nobody was left to answer. */
  readonly status: number;
  /** 0-16; -1 for what is not gRPC. */
  readonly grpcStatus: number;
  /** Envoy response flags, or "-". */
  readonly flags: string;
  /** Error code of docs/errors.md, or `via_upstream`. */
  readonly codeDetails: string;
  /** Why no connection to the upstream came about. */
  readonly upstreamFailure: string;
  /** Body bytes. */
  readonly bytesReceived: number;
  readonly bytesSent: number;
  readonly durationMs: number;
  /** Time until the upstream's response head, or -1. */
  readonly upstreamServiceMs: number;
  readonly forwardedFor: string;
  readonly userAgent: string;
  readonly requestId: string;
  readonly authority: string;
  /** address:port */
  readonly upstreamHost: string;
  readonly upstreamCluster: string;
  readonly upstreamLocalAddress: string;
  readonly downstreamLocalAddress: string;
  readonly downstreamRemoteAddress: string;
  readonly serverName: string;
  readonly routeName: string;
  /** SPIFFE id of the mTLS peer. */
  readonly peerId: string;
  /** What policies that are tried out or audit would have done. */
  readonly authorization: string;
}

/** Longest text of one field; a request head may be 64 KiB, a log line need not. */
const maxFieldLength = 8192;

/** Envoy's default format string, to the letter; ends with a line feed. */
export function formatText(entry: AccessLogEntry): string {
  const time = new Date(entry.startWallMs).toISOString();
  const service = entry.upstreamServiceMs < 0 ? "-" : String(Math.round(entry.upstreamServiceMs));
  return (
    `[${time}] "${plain(entry.method)} ${plain(entry.path)} ${plain(entry.protocol)}" ` +
    `${entry.status} ${plain(entry.flags)} ${entry.bytesReceived} ${entry.bytesSent} ` +
    `${Math.round(entry.durationMs)} ${service} "${plain(entry.forwardedFor)}" "${plain(entry.userAgent)}" ` +
    `"${plain(entry.requestId)}" "${plain(entry.authority)}" "${plain(entry.upstreamHost)}"\n`
  );
}

/** One JSON object with the field names of Istio and Consul; ends with a line feed. What there is not is null. */
export function formatJson(entry: AccessLogEntry): string {
  const line = JSON.stringify({
    start_time: new Date(entry.startWallMs).toISOString(),
    method: text(entry.method),
    path: text(entry.path),
    protocol: text(entry.protocol),
    response_code: entry.status,
    grpc_status: entry.grpcStatus < 0 ? null : entry.grpcStatus,
    response_flags: text(entry.flags),
    response_code_details: text(entry.codeDetails),
    connection_termination_details: null,
    upstream_transport_failure_reason: text(entry.upstreamFailure),
    bytes_received: entry.bytesReceived,
    bytes_sent: entry.bytesSent,
    duration: Math.round(entry.durationMs),
    upstream_service_time: entry.upstreamServiceMs < 0 ? null : Math.round(entry.upstreamServiceMs),
    x_forwarded_for: text(entry.forwardedFor),
    user_agent: text(entry.userAgent),
    request_id: text(entry.requestId),
    authority: text(entry.authority),
    upstream_host: text(entry.upstreamHost),
    upstream_cluster: text(entry.upstreamCluster),
    upstream_local_address: text(entry.upstreamLocalAddress),
    downstream_local_address: text(entry.downstreamLocalAddress),
    downstream_remote_address: text(entry.downstreamRemoteAddress),
    requested_server_name: text(entry.serverName),
    route_name: text(entry.routeName),
    downstream_peer_uri_san: text(entry.peerId),
    authorization: text(entry.authorization),
  });
  return `${line.replace(unsafeInJson, unicodeEscape)}\n`;
}

// Everything but visible ASCII and space, and what could end or escape a quoted field.
const unsafeInText = /[^\x20-\x7e]|["\\]/;
const allUnsafeInText = new RegExp(unsafeInText, "g");
/** JSON lets these through, terminals and line splitters do not (C1 controls, U+2028, U+2029). */
const unsafeInJson = /[\x7f-\x9f\u2028\u2029]/g;
const highByte = /[\x80-\xff]/;

/** A field of the text format: \xHH for whatever could forge a line or move a terminal's cursor, as nginx writes it. */
function plain(value: string): string {
  if (value === "") return "-";
  const short = value.length > maxFieldLength ? value.slice(0, maxFieldLength) : value;
  return unsafeInText.test(short) ? short.replace(allUnsafeInText, hexEscape) : short;
}

/** A field of the JSON format; heads hold bytes as latin1 characters, JSON wants the text they spell. */
function text(value: string): string | null {
  if (value === "") return null;
  const short = value.length > maxFieldLength ? value.slice(0, maxFieldLength) : value;
  return highByte.test(short) ? Buffer.from(short, "latin1").toString("utf8") : short;
}

function hexEscape(character: string): string {
  return `\\x${(character.charCodeAt(0) & 0xff).toString(16).toUpperCase().padStart(2, "0")}`;
}

function unicodeEscape(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
}
