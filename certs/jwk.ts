import { createHash, createPublicKey, type KeyObject } from "node:crypto";

/** A public key that verifies JWT-SVIDs, as it stands in a JWK set. */
export interface JwtKey {
  readonly kid: string;
  readonly jwk: Readonly<Record<string, unknown>>;
  readonly key: KeyObject;
}

/** A trust domain has two or three at a time. */
const maxKeys = 64;
/** NIST SP 800-131A: less is broken or about to be. */
const minRsaBits = 2048;
const curves: ReadonlySet<string> = new Set(["P-256", "P-384", "P-521"]);

/** The members of a public JWK by type; all others (x5c, private parts) are left behind. */
const publicMembers: ReadonlyMap<string, readonly string[]> = new Map([
  ["EC", ["crv", "kty", "x", "y"]],
  ["RSA", ["e", "kty", "n"]],
]);

/**
 * The key of one element of a JWK set; undefined when it is of no use for JWT-SVIDs: another type or curve, too weak, or
 * without the `kid` that JWT-SVID asks for in a bundle.
 */
export function readJwtKey(element: unknown): JwtKey | undefined {
  if (typeof element !== "object" || element === null) return undefined;
  const fields = element as Readonly<Record<string, unknown>>;
  const { kid, kty, crv } = fields;
  if (typeof kid !== "string" || kid === "" || kid.length > 256) return undefined;
  const members = typeof kty === "string" ? publicMembers.get(kty) : undefined;
  if (members === undefined || (kty === "EC" && !curves.has(String(crv)))) return undefined;
  const values = members.map((member) => [member, fields[member]] as const);
  if (values.some(([, value]) => typeof value !== "string")) return undefined;
  try {
    const bare = Object.fromEntries(values);
    const key = createPublicKey({ key: bare, format: "jwk" });
    if (kty === "RSA" && (key.asymmetricKeyDetails?.modulusLength ?? 0) < minRsaBits) return undefined;
    return { kid, jwk: { ...bare, kid, use: "jwt-svid" }, key };
  } catch {
    return undefined; // a point off the curve, a number that is none
  }
}

/** The JWT-SVID keys of a JWK set's elements; elements of other uses are ignored (JWT-SVID §6.2). */
export function jwtKeysOf(elements: readonly unknown[]): readonly JwtKey[] {
  return elements
    .filter((element) => (element as { readonly use?: unknown } | null)?.use === "jwt-svid")
    .map(readJwtKey)
    .filter((key) => key !== undefined)
    .slice(0, maxKeys);
}

/** The JWK set of these keys, as JSON. */
export function jwkSetText(keys: readonly JwtKey[]): string {
  return JSON.stringify({ keys: keys.map(({ jwk }) => jwk) });
}

/** The keys of a JWK set in JSON; none when the text is no JWK set. */
export function readJwkSet(text: string): readonly JwtKey[] {
  try {
    const set = JSON.parse(text) as { readonly keys?: unknown } | null;
    return Array.isArray(set?.keys) ? jwtKeysOf(set.keys) : [];
  } catch {
    return [];
  }
}

/** The public half of `key` with its thumbprint (RFC 7638) as `kid`. */
export function jwtKeyOf(key: KeyObject): JwtKey {
  const exported = createPublicKey(key).export({ format: "jwk" });
  const members = publicMembers.get(exported.kty ?? "") ?? [];
  const canonical = JSON.stringify(Object.fromEntries(members.map((member) => [member, exported[member]])));
  const kid = createHash("sha256").update(canonical).digest("base64url");
  const found = readJwtKey({ ...exported, kid });
  if (found === undefined) throw new Error("not a key that signs JWT-SVIDs");
  return found;
}
