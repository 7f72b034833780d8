import { fingerprint, splitPemCertificates } from "./bundle.js";
import { CertificateError, refusalTexts, type RefusalReason } from "./certificate-error.js";
import { parseCertificate } from "./certificate.js";
import { svidIdentity } from "./svid-rules.js";
import type { Verification } from "./verify.js";

/** A certificate for people and programs: plain data, ready for JSON. */
export interface CertificateSummary {
  readonly kind: "svid" | "ca" | "other";
  /** SPIFFE id of an SVID. */
  readonly id?: string;
  /** Why it is no SVID, when it is neither an SVID nor a CA. */
  readonly refused?: RefusalReason;
  readonly subjectCommonName?: string;
  readonly serial: string;
  readonly notBefore: string;
  readonly notAfter: string;
  readonly state: "valid" | "expired" | "not yet valid";
  /** Whole seconds until NotAfter; negative once expired. */
  readonly secondsLeft: number;
  readonly subjectAltNames: readonly string[];
  readonly keyUsage: readonly string[];
  readonly extendedKeyUsage: readonly string[];
  readonly publicKey: string;
  readonly fingerprintSha256: string;
}

/**
 * Describes each certificate of a PEM text, in order.
 * @throws CertificateError when there is none or one cannot be read.
 */
export function inspectCertificates(pem: string, nowMs: number): readonly CertificateSummary[] {
  const ders = splitPemCertificates(pem);
  if (ders.length === 0) throw new CertificateError("malformed", "no CERTIFICATE block in the file");
  return ders.map((der) => summarize(der, nowMs));
}

function summarize(der: Buffer, nowMs: number): CertificateSummary {
  const certificate = parseCertificate(der);
  const identity = svidIdentity(certificate);
  const { subjectCommonName, notBeforeMs, notAfterMs } = certificate;
  return {
    kind: certificate.isCa ? "ca" : identity.ok ? "svid" : "other",
    ...(identity.ok ? { id: identity.id } : certificate.isCa ? {} : { refused: identity.reason }),
    ...(subjectCommonName === undefined ? {} : { subjectCommonName }),
    serial: certificate.serial,
    notBefore: new Date(notBeforeMs).toISOString(),
    notAfter: new Date(notAfterMs).toISOString(),
    state: nowMs < notBeforeMs ? "not yet valid" : nowMs > notAfterMs ? "expired" : "valid",
    secondsLeft: Math.floor((notAfterMs - nowMs) / 1000),
    // JSON keeps what a hostile name holds on its own line.
    subjectAltNames: certificate.subjectAltNames.map(({ type, value }) =>
      /^[!-~]*$/.test(value) ? `${type}:${value}` : `${type}:${JSON.stringify(value)}`,
    ),
    keyUsage: [...(certificate.keyUsage ?? [])],
    extendedKeyUsage: (certificate.extendedKeyUsage ?? []).map((oid) => usageNames.get(oid) ?? oid),
    publicKey: certificate.publicKey.type,
    fingerprintSha256: fingerprint(der),
  };
}

const usageNames: ReadonlyMap<string, string> = new Map([
  ["1.3.6.1.5.5.7.3.1", "serverAuth"],
  ["1.3.6.1.5.5.7.3.2", "clientAuth"],
]);

/** The lines that `remora cert inspect` prints for one certificate. */
export function describeCertificate(summary: CertificateSummary): readonly string[] {
  const title = { svid: "X.509-SVID", ca: "Certificate authority", other: "Certificate" }[summary.kind];
  const name = summary.id ?? JSON.stringify(summary.subjectCommonName ?? "");
  const rows: readonly (readonly [string, string])[] = [
    ["serial", summary.serial],
    ["valid", `${summary.notBefore} to ${summary.notAfter}`],
    ["state", stateText(summary)],
    ["names", summary.subjectAltNames.join(", ") || "none"],
    ["key", summary.publicKey],
    ["usage", [...summary.keyUsage, ...summary.extendedKeyUsage].join(", ") || "any"],
    ["sha256", summary.fingerprintSha256],
  ];
  const refused = summary.refused === undefined ? [] : [`  no SVID  ${refusalTexts[summary.refused]}`];
  return [`${title} ${name}`, ...rows.map(([key, value]) => `  ${key.padEnd(8)} ${value}`), ...refused];
}

function stateText({ state, secondsLeft }: CertificateSummary): string {
  if (state !== "valid") return state;
  const [days, hours, minutes] = [86_400, 3600, 60].map((unit) => Math.floor(secondsLeft / unit));
  if ((days ?? 0) >= 3) return `valid, ${days} days left`;
  if ((hours ?? 0) >= 3) return `valid, ${hours} hours left`;
  return (minutes ?? 0) >= 3 ? `valid, ${minutes} minutes left` : `valid, ${secondsLeft} seconds left`;
}

/** The line that `remora cert verify` prints. */
export function describeVerification(verification: Verification): string {
  if (verification.ok) return `valid: ${verification.id}`;
  return `refused (${verification.reason}): ${refusalTexts[verification.reason]}`;
}
