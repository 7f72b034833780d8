import { getHeader, removeHeader, type Headers } from "../traffic/headers.js";
import type { RequestHead, ResponseHead } from "../traffic/message.js";
import type { ByteWriter } from "./byte-writer.js";
import { fieldName } from "./field-name.js";
import { readFields } from "./field-section.js";
import { malformed, type HeadOptions } from "./head-options.js";
import { caseField, caseMark, restoreCase } from "./header-case.js";
import type { HpackEncoder } from "./hpack-encoder.js";

export interface ReadResponse {
  readonly head: ResponseHead;
  /** Declared length of the body; -1 = not told. */
  readonly contentLength: number;
}

/**
 * A 2xx that opens no tunnel, in answer to a request for one, cannot be said in HTTP/2, where every 2xx opens it (RFC 9110
 * §9.3.6). It goes as `untoldStatus`, which is right for whoever does not know this field; our own peers restore it.
 */
const plainStatusField = "x-remora-status";
const untoldStatus = 502;

/**
 * The head of a response from its decoded fields (RFC 9113 §8.3.2). The 200 that opens a tunnel (RFC 8441 §5) becomes 101.
 * Throws ProxyError upstream_protocol_error.
 */
export function readResponseHead(fields: Headers, request: RequestHead, options: HeadOptions): ReadResponse {
  const text = fields[0] === ":status" ? (fields[1] as string) : "";
  if (!/^[1-5]\d\d$/.test(text)) throw malformed("response", "no or invalid :status");
  let status = Number(text);
  // RFC 9113 §8.6: there is no such thing.
  if (status === 101) throw malformed("response", "101 in HTTP/2");
  const section = readFields(fields, 2, "response");
  const { headers } = section;
  let { contentLength } = section;
  if (request.upgrade !== "" && status === 200) {
    status = 101;
    contentLength = -1;
  } else if (options.isMesh && request.upgrade !== "" && status === untoldStatus) {
    const plain = getHeader(headers, plainStatusField) ?? "";
    if (/^2\d\d$/.test(plain)) status = Number(plain);
    removeHeader(headers, plainStatusField);
  }
  if ((status < 200 || status === 204) && section.contentLength >= 0) dropLength(headers);
  if (options.isMesh && section.caseMark !== "") restoreCase(headers, section.caseMark);
  return { head: { status, reason: "", version: "2", headers }, contentLength };
}

/** Appends the header block of a response. Throws like writeRequestHead. */
export function writeResponseHead(
  encoder: HpackEncoder,
  out: ByteWriter,
  head: ResponseHead,
  request: RequestHead,
  options: HeadOptions,
): void {
  const { headers, status } = head;
  const isRefusedTunnel = request.upgrade !== "" && status >= 200 && status < 300;
  encoder.begin(out);
  if (isRefusedTunnel) encoder.field(out, ":status", statusText(untoldStatus));
  else encoder.field(out, ":status", status === 101 && request.upgrade !== "" ? "200" : statusText(status));
  for (let i = 0; i < headers.length; i += 2) {
    encoder.field(out, fieldName(headers[i] as string).lower, headers[i + 1] as string);
  }
  if (!options.isMesh) return;
  if (isRefusedTunnel) encoder.field(out, plainStatusField, statusText(status));
  if (head.version === "2") return;
  const mark = caseMark(headers);
  if (mark !== "") encoder.field(out, caseField, mark);
}

/** Not allowed there (RFC 9110 §8.6), and a recipient may wait for the bytes. */
function dropLength(headers: Headers): void {
  for (let i = 0; i < headers.length; i += 2) {
    if (headers[i] === "content-length") return void headers.splice(i, 2);
  }
}

const statusTexts: readonly string[] = Array.from({ length: 600 }, (_, status) => String(status));

function statusText(status: number): string {
  return statusTexts[status] ?? String(status);
}
