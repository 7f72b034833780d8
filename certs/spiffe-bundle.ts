import { X509Certificate } from "node:crypto";
import { splitPemCertificates, toPem } from "./bundle.js";
import { CertificateError } from "./certificate-error.js";
import { parseCertificate } from "./certificate.js";
import { jwtKeysOf, type JwtKey } from "./jwk.js";
import { isTrustDomain, splitSpiffeUri } from "./spiffe-id.js";

/** What one trust domain publishes: the keys that prove its identities (SPIFFE Trust Domain and Bundle, §4). */
export interface SpiffeBundle {
  /** PEM; "" when the trust domain has no X.509-SVIDs. */
  readonly rootsPem: string;
  readonly jwtKeys: readonly JwtKey[];
  /** Grows with each change; undefined when the publisher does not say. */
  readonly sequence: number | undefined;
  /** How often to look again, seconds. */
  readonly refreshHint: number | undefined;
}

/** A root has 600 bytes as JWK. */
export const maxBundleBytes = 64 * 1024;

/** The JWK set that is published. */
export function formatSpiffeBundle(bundle: {
  readonly rootsPem: string;
  readonly jwtKeys: readonly JwtKey[];
  readonly sequence: number;
  readonly refreshHint: number;
}): string {
  const roots = splitPemCertificates(bundle.rootsPem).map((der) => ({
    use: "x509-svid",
    ...new X509Certificate(der).publicKey.export({ format: "jwk" }),
    x5c: [der.toString("base64")],
  }));
  return JSON.stringify({
    spiffe_sequence: bundle.sequence,
    spiffe_refresh_hint: bundle.refreshHint,
    keys: [...roots, ...bundle.jwtKeys.map(({ jwk }) => jwk)],
  });
}

/**
 * Reads the bundle that is said to be of `trustDomain`. Elements of unknown type or use are ignored, as the standard demands.
 * @throws CertificateError("bad_bundle") when it is no bundle, holds no key, or a CA that is none or another trust domain's.
 */
export function parseSpiffeBundle(text: string, trustDomain: string): SpiffeBundle {
  if (!isTrustDomain(trustDomain)) throw new CertificateError("bad_trust_domain");
  if (Buffer.byteLength(text) > maxBundleBytes) refuse(`more than ${maxBundleBytes} bytes`);
  const { keys, spiffe_sequence: sequence, spiffe_refresh_hint: hint } = readSet(text);
  if (!Array.isArray(keys)) refuse("it is no JWK set with keys");
  const rootsPem = (keys as readonly unknown[]).flatMap((key) => rootOf(key, trustDomain)).join("");
  const jwtKeys = jwtKeysOf(keys as readonly unknown[]);
  if (rootsPem === "" && jwtKeys.length === 0) refuse("it has no key for X.509-SVIDs or JWT-SVIDs");
  return { rootsPem, jwtKeys, sequence: wholeNumber(sequence), refreshHint: wholeNumber(hint) };
}

function readSet(text: string): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === "object" && value !== null) return value as Readonly<Record<string, unknown>>;
  } catch {
    // said below
  }
  return refuse("it is not JSON");
}

function wholeNumber(value: unknown): number | undefined {
  return Number.isSafeInteger(value) && (value as number) >= 0 ? (value as number) : undefined;
}

/** X509-SVID §6.2: `x5c` is needed, its first value counts. */
function rootOf(element: unknown, trustDomain: string): string[] {
  const { use, x5c } = (element ?? {}) as { readonly use?: unknown; readonly x5c?: unknown };
  const first: unknown = Array.isArray(x5c) ? x5c[0] : undefined;
  if (use !== "x509-svid" || typeof first !== "string") return [];
  const der = Buffer.from(first, "base64");
  const { isCa, subjectAltNames } = parseCertificate(der);
  if (!isCa) refuse("a certificate in it is not that of a CA");
  for (const { type, value } of subjectAltNames) {
    if (type !== "uri") continue;
    const own = splitSpiffeUri(value);
    if (own.trustDomain !== trustDomain || own.path !== "")
      refuse(`a CA in it is ${JSON.stringify(value.slice(0, 200))}, not that of ${trustDomain}`);
  }
  return [toPem("CERTIFICATE", der)];
}

function refuse(detail: string): never {
  throw new CertificateError("bad_bundle", detail);
}
