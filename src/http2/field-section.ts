import { parseContentLength } from "../traffic/content-length.js";
import type { Headers } from "../traffic/headers.js";
import { malformed } from "./head-options.js";
import { caseField } from "./header-case.js";

/** Field by which one sidecar tells the other the status of an ordinary 2xx that answers a request for a tunnel. */
export const plainStatusField = "x-remora-status";

/** What stands out among the ordinary fields of a head. */
export interface FieldSection {
  /** Of a request; undefined when absent. */
  host: string | undefined;
  expect: string | undefined;
  caseMark: string;
  plainStatus: string;
  /** -1 when absent. */
  contentLength: number;
}

/**
 * Moves the ordinary fields of a decoded block, which begin at index `from`, to index `to` (RFC 9113 §8.2). Their names and
 * values have been looked at by the decoder. Refuses what belongs to an HTTP/1 connection, and pseudo-headers among them; joins
 * the crumbs of a cookie. Left out: Host of a request, whose place the authority takes, what is meant for the next proxy only,
 * and the marks between sidecars. Throws ProxyError.
 */
export function siftFields(
  fields: Headers,
  from: number,
  to: number,
  kind: "request" | "response",
): FieldSection {
  const section: FieldSection = {
    host: undefined,
    expect: undefined,
    caseMark: "",
    plainStatus: "",
    contentLength: -1,
  };
  let kept = to;
  let cookieAt = -1;
  for (let i = from; i < fields.length; i += 2) {
    const name = fields[i] as string;
    const value = fields[i + 1] as string;
    if (name === "cookie" && kind === "request") {
      if (cookieAt >= 0) {
        // Several fields are one to every other version of HTTP (RFC 9113 §8.2.3).
        fields[cookieAt] += `; ${value}`;
        continue;
      }
      cookieAt = kept + 1;
    } else if (!isEndToEnd(section, name, value, kind)) continue;
    fields[kept] = name;
    // "010" is ten (RFC 9110 §8.6), but not to every parser behind us.
    fields[kept + 1] = name === "content-length" ? String(section.contentLength) : value;
    kept += 2;
  }
  fields.length = kept;
  return section;
}

/** Notes what a field says; false when it ends here. By length first: most names differ there. */
function isEndToEnd(
  section: FieldSection,
  name: string,
  value: string,
  kind: "request" | "response",
): boolean {
  if (name.charCodeAt(0) === 0x3a)
    throw malformed(kind, `pseudo-header ${name} is unknown, twice or out of place`);
  switch (name.length) {
    case 2:
      if (name === "te" && (kind === "response" || value.toLowerCase() !== "trailers"))
        throw malformed(kind, "te is not trailers");
      return true;
    case 4:
      if (name !== "host" || kind === "response") return true;
      if (section.host !== undefined) throw malformed(kind, "more than one host field");
      section.host = value;
      return false;
    case 6:
      if (name === "expect") {
        section.expect = section.expect === undefined ? value : `${section.expect}, ${value}`;
      }
      return true;
    case 7:
      return name !== "upgrade" || refuse(kind, name);
    case 10:
      return (name !== "connection" && name !== "keep-alive") || refuse(kind, name);
    case 13:
      if (name === caseField) section.caseMark = value;
      return name !== caseField;
    case 14:
      if (name === "content-length") noteLength(section, value, kind);
      return (name !== "http2-settings" && name !== "content_length") || refuse(kind, name);
    case 15:
      if (name === plainStatusField) section.plainStatus = value;
      return name !== plainStatusField;
    case 16:
      return name !== "proxy-connection" || refuse(kind, name);
    case 17:
      return (name !== "transfer-encoding" && name !== "transfer_encoding") || refuse(kind, name);
    case 18:
      return name !== "proxy-authenticate";
    case 19:
      return name !== "proxy-authorization";
    case 25:
      return name !== "proxy-authentication-info";
    default:
      return true;
  }
}

function noteLength(section: FieldSection, value: string, kind: "request" | "response"): void {
  // Repeated ones are refused even when they agree (CVE-2026-1525).
  if (section.contentLength >= 0) throw malformed(kind, "more than one content-length field");
  section.contentLength = parseContentLength(value);
  if (!(section.contentLength >= 0)) throw malformed(kind, "invalid content-length");
}

/** Of an HTTP/1 connection, or taken for it by servers that fold "_" and "-". */
function refuse(kind: "request" | "response", name: string): never {
  throw malformed(kind, `field ${name} is not part of HTTP/2`);
}
