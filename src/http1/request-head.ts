import { ProxyError } from "../errors/proxy-error.js";
import { canonicalAuthority } from "../traffic/authority.js";
import { targetBytes, tokenBytes } from "../traffic/field-syntax.js";
import { removeHeader } from "../traffic/headers.js";
import { refuseMethod } from "../traffic/method.js";
import { tunnelProtocol } from "../traffic/tunnel-protocol.js";
import type { RequestHead } from "../traffic/message.js";
import { parseFieldSection, valueIs, type FieldSection } from "./field-section.js";
import { bodyOfLength, chunkedBody, noBody, type BodyFraming } from "./framing.js";
import type { Http1Limits } from "./limits.js";
import { malformed } from "./refusal.js";
import { minorVersion } from "./version.js";

export interface ParsedRequest {
  readonly head: RequestHead;
  readonly framing: BodyFraming;
  /** May the connection carry another request after this one? */
  keepAlive: boolean;
  /** The client waits for 100 Continue before it sends the body (RFC 9110 §10.1.1). */
  expectsContinue: boolean;
}

const space = 0x20;

/**
 * Reads the head of a request, from its request line to the empty line (RFC 9112). Text that another parser could read
 * differently is refused, not repaired. The Host field is rewritten to the canonical authority; an absolute-form target is
 * reduced to origin-form. Throws ProxyError.
 */
export function parseRequestHead(text: string, limits: Http1Limits): ParsedRequest {
  let at = 0;
  while (tokenBytes[text.charCodeAt(at)] === 1) at++;
  if (at === 0 || text.charCodeAt(at) !== space) throw malformed("request", "invalid request line: method");
  const method = text.substring(0, at);
  const targetStart = ++at;
  while (targetBytes[text.charCodeAt(at)] === 1) at++;
  if (at - targetStart > limits.maxTargetBytes) {
    throw new ProxyError("uri_too_long", `request target is over ${limits.maxTargetBytes} bytes`);
  }
  if (at === targetStart || text.charCodeAt(at) !== space) {
    throw malformed("request", "invalid request line: target");
  }
  const target = text.substring(targetStart, at);
  const minor = minorVersion(text, at + 1);
  if (minor < 0 || text.charCodeAt(at + 9) !== 0x0d || text.charCodeAt(at + 10) !== 0x0a) {
    throw malformed("request", "invalid request line: version");
  }
  if (minor > 1) throw new ProxyError("version_not_supported", "only HTTP/1.1 and HTTP/1.0 are spoken here");

  const section = parseFieldSection(text, at + 11, "request", limits.maxHeaders);
  refuseMethod(method);
  const { connection } = section;
  const head: RequestHead = {
    method,
    target,
    authority: "",
    version: minor === 1 ? "1.1" : "1.0",
    headers: section.headers,
    upgrade: "",
  };
  setTargetAndAuthority(head, section);
  const framing = requestFraming(head, section);
  // With a body the change would come after it, and what follows could be taken for either: an ordinary request then.
  if (minor === 1 && connection.upgrade && framing === noBody) head.upgrade = tunnelProtocol(section.upgrade);
  return {
    head,
    framing,
    keepAlive: !connection.close && (minor === 1 || connection.keepAlive),
    expectsContinue: section.expect !== undefined && expectsContinue(head, section.expect, framing),
  };
}

/** RFC 9112 §3.2: origin-form, absolute-form, or "*" for OPTIONS. */
function setTargetAndAuthority(head: RequestHead, section: FieldSection): void {
  const { headers, target } = head;
  const { hostAt } = section;
  if (hostAt >= 0) {
    const host = headers[hostAt] as string;
    const authority = canonicalAuthority(host);
    if (authority === undefined) throw malformed("request", "invalid host field");
    head.authority = authority;
    if (authority !== host) headers[hostAt] = authority;
  } else if (head.version === "1.1") throw malformed("request", "no host field");

  if (target.charCodeAt(0) === 0x2f) return;
  if (target === "*") {
    if (head.method !== "OPTIONS") throw malformed("request", "target * is for OPTIONS only");
    return;
  }
  setFromAbsoluteForm(head, hostAt);
}

/** The target's authority replaces Host, whatever it said (RFC 9112 §3.2.2). */
function setFromAbsoluteForm(head: RequestHead, hostAt: number): void {
  const { headers, target } = head;
  const scheme = target.slice(0, 8).toLowerCase();
  const start = scheme.startsWith("http://") ? 7 : scheme === "https://" ? 8 : 0;
  if (start === 0) throw malformed("request", "target is neither origin-form nor an http or https URI");
  let end = start;
  while (end < target.length && target.charCodeAt(end) !== 0x2f && target.charCodeAt(end) !== 0x3f) end++;
  const authority = canonicalAuthority(target.slice(start, end));
  if (authority === undefined) throw malformed("request", "invalid authority in the target");
  head.authority = authority;
  const rest = target.slice(end);
  if (rest.charCodeAt(0) === 0x2f) head.target = rest;
  // "OPTIONS http://host" without a path is how a client asks a proxy for "*" (RFC 9112 §3.2.4).
  else head.target = rest === "" && head.method === "OPTIONS" ? "*" : `/${rest}`;
  if (hostAt >= 0) headers[hostAt] = authority;
  else headers.unshift("Host", authority);
}

/** RFC 9112 §6.3 for requests; every combination that hops have disagreed about is refused. */
function requestFraming(head: RequestHead, section: FieldSection): BodyFraming {
  const coding = section.transferEncoding;
  if (coding !== undefined) {
    if (section.contentLengthAt >= 0) throw malformed("request", "content-length beside transfer-encoding");
    if (head.version === "1.0") throw malformed("request", "transfer-encoding in HTTP/1.0");
    if (!valueIs(coding, "chunked")) throw unknownCoding(coding);
    return chunkedBody;
  }
  if (section.contentLength >= 0) return bodyOfLength(section.contentLength);
  // RFC 1945 §8.3: such a body would end where the client closes, and a response could no longer follow it.
  if (head.version === "1.0" && mustHaveLength(head.method)) {
    throw malformed("request", "HTTP/1.0 request without content-length");
  }
  return noBody;
}

function mustHaveLength(method: string): boolean {
  return method === "POST" || method === "PUT" || method === "PATCH";
}

/** Well-formed codings without chunked are merely not implemented (RFC 9112 §6.1); everything else is an attempt. */
function unknownCoding(coding: string): ProxyError {
  if (/^(?:gzip|x-gzip|deflate|compress|x-compress|br|zstd)$/i.test(coding)) {
    return new ProxyError("transfer_coding_not_supported", "only chunked is understood");
  }
  return malformed("request", "transfer-encoding is not exactly chunked");
}

function expectsContinue(head: RequestHead, expect: string, framing: BodyFraming): boolean {
  // RFC 9110 §10.1.1: ignored in HTTP/1.0. Written on as HTTP/1.1, a server would not ignore it.
  if (head.version === "1.0") {
    removeHeader(head.headers, "expect");
    return false;
  }
  if (!valueIs(expect, "100-continue")) {
    throw new ProxyError("expectation_failed", "only 100-continue is understood");
  }
  if (framing !== noBody) return true;
  // Without a body nobody waits; sent on, it has made servers wait for one that is not coming.
  removeHeader(head.headers, "expect");
  return false;
}
