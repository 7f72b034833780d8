import { parseContentLength } from "../traffic/content-length.js";
import type { Headers } from "../traffic/headers.js";
import { malformed } from "./head-options.js";
import { caseField } from "./header-case.js";

/** The ordinary fields of a head, pseudo-headers left out, and what stands out among them. */
export interface FieldSection {
  readonly headers: Headers;
  /** undefined when absent. */
  host: string | undefined;
  expect: string | undefined;
  caseMark: string;
  /** -1 when absent. */
  contentLength: number;
}

/**
 * Takes the ordinary fields out of a decoded block, from index `from` on (RFC 9113 §8.2). Their names and values have been
 * looked at by the decoder. Refuses what belongs to an HTTP/1 connection, and pseudo-headers among them; joins the crumbs of
 * a cookie. Host is left out: the authority takes its place. Throws ProxyError.
 */
export function readFields(fields: Headers, from: number, kind: "request" | "response"): FieldSection {
  const headers: Headers = [];
  const section: FieldSection = {
    headers,
    host: undefined,
    expect: undefined,
    caseMark: "",
    contentLength: -1,
  };
  let cookieAt = -1;
  for (let i = from; i < fields.length; i += 2) {
    const name = fields[i] as string;
    const value = fields[i + 1] as string;
    switch (name.length) {
      case 2:
        // Of responses it is meant for a connection that is not ours.
        if (name === "te" && (kind === "response" || value !== "trailers"))
          throw malformed(kind, "te is not trailers");
        break;
      case 4:
        if (name !== "host" || kind === "response") break;
        if (section.host !== undefined) throw malformed(kind, "more than one host field");
        section.host = value;
        continue;
      case 6:
        if (name === "expect") {
          section.expect = section.expect === undefined ? value : `${section.expect}, ${value}`;
        } else if (name === "cookie" && kind === "request") {
          if (cookieAt >= 0) {
            headers[cookieAt] = `${headers[cookieAt]}; ${value}`;
            continue;
          }
          cookieAt = headers.length + 1;
        }
        break;
      case 7:
        if (name === "upgrade") throw connectionField(kind, name);
        break;
      case 10:
        if (name === "connection" || name === "keep-alive") throw connectionField(kind, name);
        break;
      case 13:
        if (name !== caseField) break;
        section.caseMark = value;
        continue;
      case 14:
        if (name === "http2-settings") throw connectionField(kind, name);
        if (name === "content_length")
          throw malformed(kind, "field name content_length stands for a framing field");
        if (name === "content-length") noteLength(section, value, kind);
        break;
      case 16:
        if (name === "proxy-connection") throw connectionField(kind, name);
        break;
      case 17:
        if (name === "transfer-encoding" || name === "transfer_encoding") throw connectionField(kind, name);
        break;
      case 18:
        if (name === "proxy-authenticate") continue;
        break;
      case 19:
        if (name === "proxy-authorization") continue;
        break;
      case 25:
        if (name === "proxy-authentication-info") continue;
        break;
    }
    if (name.charCodeAt(0) === 0x3a)
      throw malformed(kind, `pseudo-header ${name} is unknown, twice or out of place`);
    headers.push(name, value);
  }
  return section;
}

function noteLength(section: FieldSection, value: string, kind: "request" | "response"): void {
  if (section.contentLength >= 0) throw malformed(kind, "more than one content-length field");
  section.contentLength = parseContentLength(value);
  // "010" is ten, but not to every parser behind us.
  if (!(section.contentLength >= 0) || (value.length > 1 && value.charCodeAt(0) === 0x30))
    throw malformed(kind, "invalid content-length");
}

function connectionField(kind: "request" | "response", name: string): Error {
  return malformed(kind, `field ${name} is not part of HTTP/2`);
}
