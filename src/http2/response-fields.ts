import { ProxyError } from "../errors/proxy-error.js";
import { removeHeader, type Headers } from "../traffic/headers.js";
import type { RequestHead, ResponseHead } from "../traffic/message.js";
import type { ByteWriter } from "../traffic/byte-writer.js";
import { fieldName } from "./field-name.js";
import { plainStatusField, siftFields } from "./field-section.js";
import { malformed, type HeadOptions } from "./head-options.js";
import { caseField, CaseMarker, restoreCase } from "./header-case.js";
import type { HpackEncoder } from "./hpack-encoder.js";

/** A response as HTTP/2 told it. */
export interface ReadResponse {
  readonly head: ResponseHead;
  /** What DATA must add up to (RFC 9113 §8.1.1); -1 = not told, or told of a content that does not come. */
  readonly contentLength: number;
}

/**
 * A 2xx that opens no tunnel, in answer to a request for one, cannot be said in HTTP/2, where every 2xx opens it (RFC 9110
 * §9.3.6). It goes as this status, which is right for whoever does not know the field that tells the other.
 */
const untoldStatus = 502;

/**
 * The head of a response from its decoded fields (RFC 9113 §8.3.2), whose list it takes over. The 200 that opens a tunnel
 * (RFC 8441 §5) becomes 101. Throws ProxyError upstream_protocol_error.
 */
export function readResponseHead(fields: Headers, request: RequestHead, options: HeadOptions): ReadResponse {
  const text = fields[0] === ":status" ? (fields[1] as string) : "";
  if (!/^[1-5]\d\d$/.test(text)) throw malformed("response", "no or invalid :status");
  let status = Number(text);
  // RFC 9113 §8.6: there is no such thing.
  if (status === 101) throw malformed("response", "101 in HTTP/2");
  const section = siftFields(fields, 2, 0, "response");
  if (request.upgrade !== "") {
    if (options.isMesh && status === untoldStatus && /^2\d\d$/.test(section.plainStatus)) {
      status = Number(section.plainStatus);
    } else if (status === 200) status = 101;
    else if (status > 200 && status < 300) throw malformed("response", `${status} to a request for a tunnel`);
  }
  let { contentLength } = section;
  if (contentLength >= 0 && (status < 200 || status === 204)) {
    // Not allowed there (RFC 9110 §8.6), and a recipient may wait for the bytes.
    removeHeader(fields, "content-length");
    contentLength = -1;
  } else if (status === 304 || request.method === "HEAD") contentLength = -1;
  if (options.isMesh && section.caseMark !== "") restoreCase(fields, section.caseMark);
  return { head: { status, reason: "", version: "2", headers: fields }, contentLength };
}

const marker = new CaseMarker();

/**
 * Appends the header block of a response. Throws like writeRequestHead.
 */
export function writeResponseHead(
  encoder: HpackEncoder,
  out: ByteWriter,
  head: ResponseHead,
  request: RequestHead,
  options: HeadOptions,
): void {
  const { headers, status, neverIndexed } = head;
  const isTunnel = status === 101;
  const isUntold = request.upgrade !== "" && status >= 200 && status < 300;
  if (isTunnel && request.upgrade === "") throw new ProxyError("internal", "101 to an ordinary request");
  encoder.begin(out);
  encoder.field(out, ":status", statusText(isTunnel ? 200 : isUntold ? untoldStatus : status));
  const isMarked = options.isMesh && head.version !== "2";
  marker.begin();
  for (let i = 0; i < headers.length; i += 2) {
    const name = fieldName(headers[i] as string);
    const { lower } = name;
    // The marks are ours to set; TE is no field of a response.
    if (name.isConnectionField || lower === caseField || lower === plainStatusField || lower === "te")
      continue;
    if (isMarked) marker.add(name);
    encoder.field(out, lower, headers[i + 1] as string, neverIndexed?.has(lower));
  }
  if (isUntold && options.isMesh) encoder.field(out, plainStatusField, statusText(status));
  const mark = isMarked ? marker.finish() : "";
  if (mark !== "") encoder.field(out, caseField, mark);
}

const statusTexts: readonly string[] = Array.from({ length: 600 }, (_, status) => String(status));

function statusText(status: number): string {
  return statusTexts[status] ?? String(status);
}
