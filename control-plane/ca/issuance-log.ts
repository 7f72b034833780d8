import { parseCertificate } from "../../certs/certificate.js";
import { CertificateError } from "../../certs/certificate-error.js";
import { splitPemCertificates } from "../../certs/bundle.js";
import type { KeyType } from "../../certs/keys.js";
import type { Clock } from "../../src/time/clock.js";
import { openJsonLines, type JsonLines } from "../json-lines.js";
import type { Issued } from "./issuer.js";

/** By what right a certificate was issued. */
export interface IssueProof {
  readonly by: "token" | "certificate" | "consul" | "offline" | "control-plane";
  /**
   * token: the first digits of its hash; certificate: the serial of the one that was renewed; consul: accessor of the ACL
   * token; offline: the user of the command.
   */
  readonly proof: string;
  /** Where the request came from; "" for none. */
  readonly address: string;
}

/** One certificate that was issued: a line of the log. */
export interface IssuedEntry extends IssueProof {
  /** ISO 8601. */
  readonly at: string;
  /** SPIFFE id. */
  readonly id: string;
  /** Hexadecimal, upper case. */
  readonly serial: string;
  /** ISO 8601. */
  readonly notAfter: string;
  /** ec-p256 or ec-p384. */
  readonly keyType: string;
}

export type IssuanceLog = JsonLines<IssuedEntry>;

/**
 * What a CA has issued, in `<caDir>/issued.jsonl`: beside the CA, so that the control plane and `remora cert issue` write
 * to the same one.
 */
export function openIssuanceLog(caDir: string, clock: Clock): IssuanceLog {
  return openJsonLines({
    folder: caDir,
    name: "issued",
    what: "the issuance log",
    parse: parseEntry,
    neededUntilMs: ({ notAfter }) => Date.parse(notAfter),
    clock,
  });
}

/** The entry of a certificate, read from the certificate itself. */
export function entryOf(issued: Pick<Issued, "certChainPem">, proof: IssueProof, nowMs: number): IssuedEntry {
  const [der] = splitPemCertificates(issued.certChainPem);
  if (der === undefined) throw new CertificateError("malformed", "no CERTIFICATE block");
  const { serial, notAfterMs, publicKey, subjectAltNames } = parseCertificate(der);
  const id = subjectAltNames.find(({ type }) => type === "uri")?.value ?? "";
  return {
    at: new Date(nowMs).toISOString(),
    id,
    serial,
    notAfter: new Date(notAfterMs).toISOString(),
    ...{ by: proof.by, proof: proof.proof, address: proof.address },
    keyType: publicKey.type,
  };
}

const fields = ["at", "id", "serial", "notAfter", "by", "proof", "address", "keyType"] as const;

/** How older lines name the kinds of keys: the log is only ever appended to. */
const formerNames: ReadonlyMap<string, KeyType> = new Map([
  ["P-256", "ec-p256"],
  ["P-384", "ec-p384"],
]);

function parseEntry(value: unknown): IssuedEntry | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  const entry = value as Readonly<Record<string, unknown>>;
  const isEntry = fields.every((field) => typeof entry[field] === "string");
  if (!isEntry || Number.isNaN(Date.parse(String(entry["notAfter"])))) return undefined;
  const { keyType, ...rest } = value as IssuedEntry;
  return { ...rest, keyType: formerNames.get(keyType) ?? keyType };
}
