import { ProxyError } from "../errors/proxy-error.js";
import { canonicalAuthority } from "../traffic/authority.js";
import { consistsOf, targetBytes, tokenBytes } from "../traffic/field-syntax.js";
import { removeHeader, type Headers } from "../traffic/headers.js";
import type { RequestHead } from "../traffic/message.js";
import { refuseMethod } from "../traffic/method.js";
import { tunnelProtocol } from "../traffic/tunnel-protocol.js";
import type { ByteWriter } from "../traffic/byte-writer.js";
import { fieldName } from "./field-name.js";
import { plainStatusField, siftFields } from "./field-section.js";
import { malformed, type HeadOptions } from "./head-options.js";
import { caseField, CaseMarker, restoreCase } from "./header-case.js";
import type { HpackEncoder } from "./hpack-encoder.js";

/** A request as HTTP/2 told it. */
export interface ReadRequest {
  readonly head: RequestHead;
  /** What DATA must add up to (RFC 9113 §8.1.1); -1 = not told. */
  readonly contentLength: number;
}

/**
 * The head of a request from its decoded fields (RFC 9113 §8.3.1, RFC 8441), whose list it takes over. As strict as the
 * HTTP/1 parser: what another parser behind us could read differently is refused. Throws ProxyError.
 */
export function readRequestHead(fields: Headers, options: HeadOptions): ReadRequest {
  let method: string | undefined;
  let scheme: string | undefined;
  let target: string | undefined;
  let authority: string | undefined;
  let protocol: string | undefined;
  let at = 0;
  for (; at < fields.length; at += 2) {
    const name = fields[at] as string;
    if (name.charCodeAt(0) !== 0x3a) break;
    const value = fields[at + 1] as string;
    if (name === ":method" && method === undefined) method = value;
    else if (name === ":path" && target === undefined) target = value;
    else if (name === ":scheme" && scheme === undefined) scheme = value;
    else if (name === ":authority" && authority === undefined) authority = value;
    else if (name === ":protocol" && protocol === undefined) protocol = value;
    else throw malformed("request", `pseudo-header ${name} is unknown or twice`);
  }
  if (method === undefined || !consistsOf(method, tokenBytes) || method === "") {
    throw malformed("request", "no or invalid :method");
  }
  let upgrade = "";
  if (protocol !== undefined) {
    if (method !== "CONNECT") throw malformed("request", ":protocol without CONNECT");
    upgrade = tunnelProtocol(protocol);
    if (upgrade === "") throw new ProxyError("method_not_supported", "this :protocol is not forwarded");
    // What HTTP/1.1 asks for with Upgrade.
    method = "GET";
  }
  refuseMethod(method);
  if (scheme !== "http" && scheme !== "https")
    throw malformed("request", ":scheme is neither http nor https");
  checkTarget(target, method, options);
  // At least three pseudo-headers came before: there is room for Host.
  const section = siftFields(fields, at, 2, "request");
  const host = authorityOf(authority, section.host);
  fields[0] = "host";
  fields[1] = host;
  // To an HTTP/1.1 application the tunnel would begin after a body.
  if (upgrade !== "" && section.contentLength >= 0) throw malformed("request", "content-length of a tunnel");
  const head: RequestHead = { method, target, authority: host, version: "2", headers: fields, upgrade };
  if (section.expect !== undefined) checkExpect(head, section.expect, section.contentLength);
  if (options.isMesh && section.caseMark !== "") restoreCase(fields, section.caseMark);
  return { head, contentLength: section.contentLength };
}

const marker = new CaseMarker();

/**
 * Appends the header block of a request. Host becomes :authority, and what HTTP/2 forbids stays out. Throws ProxyError internal
 * when a value must not be written: then encoder.abandon().
 */
export function writeRequestHead(
  encoder: HpackEncoder,
  out: ByteWriter,
  head: RequestHead,
  options: HeadOptions,
): void {
  const { headers, neverIndexed } = head;
  encoder.begin(out);
  if (head.upgrade === "") encoder.field(out, ":method", head.method);
  else {
    encoder.field(out, ":method", "CONNECT");
    encoder.field(out, ":protocol", head.upgrade);
  }
  encoder.field(out, ":scheme", options.isMesh ? "https" : "http");
  encoder.field(out, ":authority", head.authority, neverIndexed?.has(":authority"));
  encoder.field(out, ":path", head.target, neverIndexed?.has(":path"));
  const isMarked = options.isMesh && head.version !== "2";
  marker.begin();
  for (let i = 0; i < headers.length; i += 2) {
    const name = fieldName(headers[i] as string);
    const { lower } = name;
    // The marks are ours to set.
    if (name.isConnectionField || lower === caseField || lower === plainStatusField) continue;
    if (isMarked) marker.add(name);
    if (lower === "host") continue;
    const value = headers[i + 1] as string;
    if (lower !== "te") encoder.field(out, lower, value, neverIndexed?.has(lower));
    else if (value.toLowerCase() === "trailers") encoder.field(out, lower, "trailers");
  }
  const mark = isMarked ? marker.finish() : "";
  if (mark !== "") encoder.field(out, caseField, mark);
}

function checkTarget(
  target: string | undefined,
  method: string,
  { limits }: HeadOptions,
): asserts target is string {
  if (target === undefined || target === "") throw malformed("request", "no :path");
  if (target.length > limits.maxTargetBytes) {
    throw new ProxyError("uri_too_long", `request target is over ${limits.maxTargetBytes} bytes`);
  }
  if (!consistsOf(target, targetBytes)) throw malformed("request", "invalid :path");
  if (target.charCodeAt(0) === 0x2f) return;
  if (target !== "*") throw malformed("request", ":path does not begin with /");
  if (method !== "OPTIONS") throw malformed("request", "target * is for OPTIONS only");
}

/** :authority and Host mean the same; when they do not say the same, hops would disagree (RFC 9113 §8.3.1). */
function authorityOf(authority: string | undefined, host: string | undefined): string {
  const named = authority ?? host;
  const canonical = named === undefined ? undefined : canonicalAuthority(named);
  if (canonical === undefined) throw malformed("request", "no or invalid :authority");
  if (authority !== undefined && host !== undefined && canonicalAuthority(host) !== canonical) {
    throw malformed("request", "host differs from :authority");
  }
  return canonical;
}

function checkExpect(head: RequestHead, expect: string, contentLength: number): void {
  if (expect.toLowerCase() !== "100-continue") {
    throw new ProxyError("expectation_failed", "only 100-continue is understood");
  }
  // Without a body nobody waits; sent on, it has made servers wait for one that is not coming.
  if (contentLength === 0) removeHeader(head.headers, "expect");
}
