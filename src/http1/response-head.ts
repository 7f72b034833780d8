import type { ResponseHead } from "../traffic/message.js";
import { valueBytes } from "../traffic/field-syntax.js";
import { parseFieldSection, valueIs, type FieldSection } from "./field-section.js";
import { bodyOfLength, bodyUntilClose, chunkedBody, noBody, type BodyFraming } from "./framing.js";
import type { Http1Limits } from "./limits.js";
import { malformed } from "./refusal.js";
import { minorVersion } from "./version.js";

export interface ParsedResponse {
  readonly head: ResponseHead;
  framing: BodyFraming;
  /** May the connection carry another request after this response? False for 101 and for bodies that end by closing. */
  keepAlive: boolean;
  /** How long the upstream says it keeps an idle connection (Keep-Alive: timeout=N); -1 when it does not say. */
  keepAliveTimeoutMs: number;
  /** Lower-case Upgrade value of a 101, else "". */
  upgrade: string;
}

/** Longer hints are as good as none, and must not overflow a timer. */
const maxTimeoutSeconds = 86_400;

/**
 * Reads the head of a response, from its status line to the empty line (RFC 9112 §4). The framing depends on the method of
 * the request it answers. Throws ProxyError upstream_protocol_error or upstream_headers_too_large.
 */
export function parseResponseHead(text: string, requestMethod: string, limits: Http1Limits): ParsedResponse {
  const minor = minorVersion(text, 0);
  if (minor !== 0 && minor !== 1) throw malformed("response", "status line is not HTTP/1.1 or HTTP/1.0");
  if (text.charCodeAt(8) !== 0x20) throw malformed("response", "invalid status line");
  const status = statusAt(text);
  let at = 12;
  let reason = "";
  // The space before an empty reason phrase is required (RFC 9112 §4) but widely left out, and nothing hangs on it.
  if (text.charCodeAt(at) === 0x20) {
    const start = ++at;
    while (valueBytes[text.charCodeAt(at)] === 1) at++;
    reason = text.substring(start, at);
  }
  if (text.charCodeAt(at) !== 0x0d || text.charCodeAt(at + 1) !== 0x0a) {
    throw malformed("response", "invalid status line");
  }

  const section = parseFieldSection(text, at + 2, "response", limits.maxHeaders);
  const { connection, headers } = section;
  const framing = responseFraming(status, requestMethod, minor, section);
  if ((status < 200 || status === 204) && section.contentLengthAt >= 0) {
    // Not allowed there (RFC 9110 §8.6), and a recipient may wait for the bytes.
    headers.splice(section.contentLengthAt - 1, 2);
  }
  return {
    head: { status, reason, version: minor === 1 ? "1.1" : "1.0", headers },
    framing,
    keepAlive:
      status !== 101 &&
      framing !== bodyUntilClose &&
      !connection.close &&
      (minor === 1 || connection.keepAlive),
    keepAliveTimeoutMs: section.keepAlive === "" ? -1 : timeoutMs(section.keepAlive),
    upgrade: status === 101 && connection.upgrade ? section.upgrade.toLowerCase() : "",
  };
}

/** RFC 9110 §15: three digits, 100 to 599. */
function statusAt(text: string): number {
  let status = 0;
  for (let i = 9; i < 12; i++) {
    const digit = text.charCodeAt(i) - 0x30;
    status = digit >= 0 && digit <= 9 ? status * 10 + digit : NaN;
  }
  if (!(status >= 100 && status <= 599)) throw malformed("response", "invalid status code");
  return status;
}

/** RFC 9112 §6.3 for responses. Ambiguous framing is refused also where the status says that no body follows. */
function responseFraming(
  status: number,
  requestMethod: string,
  minor: number,
  section: FieldSection,
): BodyFraming {
  const coding = section.transferEncoding;
  if (coding !== undefined) {
    if (section.contentLengthAt >= 0) throw malformed("response", "content-length beside transfer-encoding");
    if (minor === 0) throw malformed("response", "transfer-encoding in HTTP/1.0");
    if (!valueIs(coding, "chunked")) throw malformed("response", "transfer-encoding is not exactly chunked");
  }
  if (status < 200 || status === 204 || status === 304 || requestMethod === "HEAD") return noBody;
  if (coding !== undefined) return chunkedBody;
  return section.contentLength >= 0 ? bodyOfLength(section.contentLength) : bodyUntilClose;
}

function timeoutMs(keepAlive: string): number {
  const seconds = /(?:^|[,;\s])timeout\s*=\s*"?(\d{1,9})/i.exec(keepAlive)?.[1];
  return seconds === undefined ? -1 : Math.min(Number(seconds), maxTimeoutSeconds) * 1000;
}
