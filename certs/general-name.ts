import { isIP } from "node:net";
import { readChildren, readOnly, tag } from "./der.js";

/** One subject alternative name with the type that its DER tag says, so that no text can pass for another type. */
export interface SubjectAltName {
  readonly type: "uri" | "dns" | "ip" | "email" | "other";
  /** As in the certificate, one character per octet: it may hold NUL, quotes, commas. Hexadecimal for "other". */
  readonly value: string;
}

/** Context tags of GeneralName, RFC 5280 §4.2.1.6. */
const types: ReadonlyMap<number, SubjectAltName["type"]> = new Map([
  [0x81, "email"],
  [0x82, "dns"],
  [0x86, "uri"],
  [0x87, "ip"],
]);

/**
 * The content of a SubjectAltName extension. Node's `subjectaltname` string is never used for this: it joins names with
 * commas that names may contain (Node CVE-2021-44532, Envoy CVE-2022-21656).
 * @throws CertificateError("malformed")
 */
export function readSubjectAltNames(extension: Buffer): readonly SubjectAltName[] {
  return readChildren(readOnly(extension, tag.sequence)).map((name): SubjectAltName => {
    const type = types.get(name.tag) ?? "other";
    if (type === "other") return { type, value: name.body.toString("hex") };
    return { type, value: type === "ip" ? ipText(name.body) : name.body.toString("latin1") };
  });
}

/** Hexadecimal when it is no address, so that it equals none. */
function ipText(octets: Buffer): string {
  if (octets.length === 4) return octets.join(".");
  const hex = octets.toString("hex");
  const groups = (hex.match(/.{4}/g) ?? []).map((group) => Number.parseInt(group, 16).toString(16)).join(":");
  return octets.length === 16 && isIP(groups) === 6 ? groups : hex;
}
