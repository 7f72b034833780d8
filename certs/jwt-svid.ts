import type { KeyObject } from "node:crypto";
import { CertificateError } from "./certificate-error.js";
import type { JwtKey } from "./jwk.js";
import { isJwtSvidAlgorithm, isSignedBy, parseJws, signJws, type Jws } from "./jws.js";
import { splitSpiffeUri } from "./spiffe-id.js";

/** Why a token is no valid JWT-SVID, in words for the one who asked. */
export const jwtRefusalTexts = {
  malformed: "the token is not a JWS in compact serialization with a JSON header and JSON claims",
  header: "the header has a field other than alg, kid and typ",
  algorithm: "alg is none of RS256, RS384, RS512, ES256, ES384, ES512, PS256, PS384, PS512",
  type: "typ is neither JWT nor JOSE",
  subject: "sub is not the SPIFFE id of a workload",
  audience: "aud is missing or does not name the audience asked for",
  expiry: "exp is missing or not a number",
  expired: "the token has expired",
  not_yet_valid: "the token is not valid yet",
  untrusted_domain: "there is no bundle of the subject's trust domain",
  unknown_key: "the bundle of the subject's trust domain has no such key",
  signature: "the signature is not that of a key of the subject's trust domain",
} as const;

export type JwtRefusal = keyof typeof jwtRefusalTexts;

export type JwtVerification =
  | { readonly ok: true; readonly id: string; readonly claims: Readonly<Record<string, unknown>> }
  | { readonly ok: false; readonly reason: JwtRefusal };

/** JWT-SVID, appendix A: "a small amount of leeway is acceptable". */
const leewayMs = 10_000;
/** JWT-SVID §2: "Any header not described here, registered or private, MUST NOT be included". */
const headerFields: ReadonlySet<string> = new Set(["alg", "kid", "typ"]);

/** Signs a JWT-SVID with ES256. `audience` must not be empty. `exp` is rounded to whole seconds. */
export function signJwtSvid(
  signer: { readonly kid: string; readonly key: KeyObject },
  claims: {
    readonly id: string;
    readonly audience: readonly string[];
    readonly nowMs: number;
    readonly ttlMs: number;
  },
): string {
  const iat = Math.floor(claims.nowMs / 1000);
  const exp = Math.ceil((claims.nowMs + claims.ttlMs) / 1000);
  const payload = { aud: claims.audience, exp, iat, sub: claims.id };
  return signJws(signer.key, { alg: "ES256", kid: signer.kid, typ: "JWT" }, payload);
}

/**
 * Verifies a JWT-SVID for `audience` by the rules of JWT-SVID. Never throws, whatever the token.
 * @param keysOf the keys of one trust domain; undefined = it is not trusted. Keys of other domains are never tried.
 */
export function verifyJwtSvid(
  token: string,
  options: {
    readonly audience: string;
    readonly nowMs: number;
    readonly keysOf: (trustDomain: string) => readonly JwtKey[] | undefined;
  },
): JwtVerification {
  const refuse = (reason: JwtRefusal): JwtVerification => ({ ok: false, reason });
  const jws = parseJws(token);
  if (jws === undefined) return refuse("malformed");
  const { header, payload } = jws;
  if (!isJwtSvidAlgorithm(header["alg"])) return refuse("algorithm");
  if (!Object.keys(header).every((field) => headerFields.has(field))) return refuse("header");
  const { typ, kid } = header;
  if (typ !== undefined && typ !== "JWT" && typ !== "JOSE") return refuse("type");
  if (kid !== undefined && typeof kid !== "string") return refuse("header");
  const trustDomain = workloadDomain(payload["sub"]);
  if (trustDomain === undefined) return refuse("subject");
  const keys = options.keysOf(trustDomain);
  if (keys === undefined) return refuse("untrusted_domain");
  const mistake = signatureMistake(jws, keys, kid) ?? claimMistake(payload, options);
  return mistake === undefined ? { ok: true, id: String(payload["sub"]), claims: payload } : refuse(mistake);
}

/** The trust domain of a workload's SPIFFE id; undefined when `sub` is none. */
function workloadDomain(sub: unknown): string | undefined {
  if (typeof sub !== "string") return undefined;
  try {
    const { trustDomain, path } = splitSpiffeUri(sub);
    return path === "" ? undefined : trustDomain;
  } catch (error: unknown) {
    if (error instanceof CertificateError) return undefined;
    throw error;
  }
}

function signatureMistake(
  jws: Jws,
  keys: readonly JwtKey[],
  kid: string | undefined,
): JwtRefusal | undefined {
  const candidates = kid === undefined ? keys : keys.filter((key) => key.kid === kid);
  if (candidates.length === 0) return "unknown_key";
  return candidates.some(({ key }) => isSignedBy(jws, key)) ? undefined : "signature";
}

function claimMistake(
  { aud, exp, nbf }: Readonly<Record<string, unknown>>,
  { audience, nowMs }: { readonly audience: string; readonly nowMs: number },
): JwtRefusal | undefined {
  const audiences: readonly unknown[] = Array.isArray(aud) ? aud : [aud];
  if (audience === "" || !audiences.includes(audience)) return "audience";
  if (typeof exp !== "number" || !Number.isFinite(exp)) return "expiry";
  if (nowMs >= exp * 1000 + leewayMs) return "expired";
  if (nbf === undefined) return undefined;
  return typeof nbf === "number" && nowMs >= nbf * 1000 - leewayMs ? undefined : "not_yet_valid";
}
