/** JWT-SVID, rule by rule: what holds and what breaks it. Tokens are signed here by hand, as an attacker would. */
import { constants, createHmac, generateKeyPairSync, sign, type KeyObject } from "node:crypto";
import fc from "fast-check";
import t from "tap";
import { jwkSetText, jwtKeyOf, jwtKeysOf, readJwkSet, type JwtKey } from "../../certs/jwk.js";
import { signJwtSvid, verifyJwtSvid } from "../../certs/jwt-svid.js";

const nowMs = Date.UTC(2026, 0, 1, 12);
const nowS = nowMs / 1000;
const web = "spiffe://remora.local/ns/default/svc/web";
const p256 = generateKeyPairSync("ec", { namedCurve: "P-256" });
const p384 = generateKeyPairSync("ec", { namedCurve: "P-384" });
const p521 = generateKeyPairSync("ec", { namedCurve: "P-521" });
const rsa = generateKeyPairSync("rsa", { modulusLength: 2048 });
const strangers = generateKeyPairSync("ec", { namedCurve: "P-256" });
const own = [p256, p384, p521, rsa].map(({ privateKey }) => jwtKeyOf(privateKey));
const domains = new Map<string, readonly JwtKey[]>([
  ["remora.local", own],
  ["other.mesh", [jwtKeyOf(strangers.privateKey)]],
]);
const kidOf = (key: KeyObject): string => jwtKeyOf(key).kid;

const base64 = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString("base64url");
const claims = { sub: web, aud: ["reports"], exp: nowS + 60 };

interface Shape {
  readonly header?: object;
  readonly payload?: object;
  readonly key?: KeyObject;
  readonly hash?: string;
  readonly isPss?: boolean;
}

/** Signs whatever it is told to. */
function token({
  header = { alg: "ES256" },
  payload = claims,
  key = p256.privateKey,
  ...how
}: Shape = {}): string {
  const signed = `${base64(header)}.${base64(payload)}`;
  const pss = { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_DIGEST };
  const options = { key, dsaEncoding: "ieee-p1363", ...(how.isPss === true ? pss : {}) } as const;
  return `${signed}.${sign(how.hash ?? "sha256", Buffer.from(signed), options).toString("base64url")}`;
}

function verdict(text: string, audience = "reports"): string {
  const result = verifyJwtSvid(text, { audience, nowMs, keysOf: (domain) => domains.get(domain) });
  return result.ok ? result.id : result.reason;
}

t.test("each algorithm of §2.1 is taken with a key of its type", async (t) => {
  for (const [bits, hash, curve] of [
    ["256", "sha256", p256],
    ["384", "sha384", p384],
    ["512", "sha512", p521],
  ] as const) {
    t.equal(verdict(token({ header: { alg: `ES${bits}` }, key: curve.privateKey, hash })), web, `ES${bits}`);
    t.equal(verdict(token({ header: { alg: `RS${bits}` }, key: rsa.privateKey, hash })), web, `RS${bits}`);
    const pss = token({ header: { alg: `PS${bits}` }, key: rsa.privateKey, hash, isPss: true });
    t.equal(verdict(pss), web, `PS${bits}`);
  }
});

t.test("each mistake has its own reason", async (t) => {
  const unsigned = `${base64({ alg: "none" })}.${base64(claims)}.`;
  const publicPem = p256.publicKey.export({ type: "spki", format: "pem" }).toString();
  const hmacInput = `${base64({ alg: "HS256" })}.${base64(claims)}`;
  const hmac = `${hmacInput}.${createHmac("sha256", publicPem).update(hmacInput).digest("base64url")}`;
  const good = token();
  const [head, body, signature = ""] = good.split(".");
  const evil = base64({ ...claims, sub: "spiffe://remora.local/ns/default/svc/admin" });
  const withClaims = (changes: object): string => token({ payload: { ...claims, ...changes } });
  const withHeader = (more: object): string => token({ header: { alg: "ES256", ...more } });
  const foreign = { ...claims, sub: "spiffe://other.mesh/ns/default/svc/web" };
  const cases: readonly (readonly [what: string, text: string, verdict: string])[] = [
    ["nothing", "", "malformed"],
    ["two parts", `${head}.${body}`, "malformed"],
    ["four parts", `${good}.x`, "malformed"],
    ["JSON serialization", JSON.stringify({ payload: body, signature, protected: head }), "malformed"],
    ["padding", `${head}=.${body}.${signature}`, "malformed"],
    ["standard base64", good.replace(".", "+."), "malformed"],
    ["empty signature", unsigned, "malformed"],
    ["header that is a list", `${base64([])}.${body}.${signature}`, "malformed"],
    ["header that is no UTF-8", `_w.${body}.${signature}`, "malformed"],
    ["too long", token({ payload: { ...claims, x: "x".repeat(20_000) } }), "malformed"],
    ["alg none", `${base64({ alg: "none" })}.${body}.${signature}`, "algorithm"],
    ["HMAC with the public key as secret", hmac, "algorithm"],
    ["no alg", token({ header: {} }), "algorithm"],
    ["alg in lower case", token({ header: { alg: "es256" } }), "algorithm"],
    ["EdDSA", token({ header: { alg: "EdDSA" } }), "algorithm"],
    ["alg of another curve", token({ header: { alg: "ES384", kid: kidOf(p256.privateKey) } }), "signature"],
    ["alg of another type", token({ header: { alg: "RS256", kid: kidOf(p256.privateKey) } }), "signature"],
    ["crit", withHeader({ crit: ["exp"] }), "header"],
    ["jwk of the attacker", withHeader({ jwk: jwtKeyOf(strangers.privateKey).jwk }), "header"],
    ["jku", withHeader({ jku: "https://evil/" }), "header"],
    ["typ JOSE", withHeader({ typ: "JOSE" }), web],
    ["typ JWT", withHeader({ typ: "JWT" }), web],
    ["typ of an access token", withHeader({ typ: "at+jwt" }), "type"],
    ["kid that is known", withHeader({ kid: kidOf(p256.privateKey) }), web],
    ["kid that is not", withHeader({ kid: "x" }), "unknown_key"],
    ["kid that is no text", withHeader({ kid: 1 }), "header"],
    ["kid of another domain", withHeader({ kid: kidOf(strangers.privateKey) }), "unknown_key"],
    ["no sub", withClaims({ sub: undefined }), "subject"],
    ["sub that is no SPIFFE id", withClaims({ sub: "web" }), "subject"],
    ["sub that is a trust domain", withClaims({ sub: "spiffe://remora.local" }), "subject"],
    ["no aud", withClaims({ aud: undefined }), "audience"],
    ["empty aud", withClaims({ aud: [] }), "audience"],
    ["aud of somebody else", withClaims({ aud: ["payments"] }), "audience"],
    ["aud that begins like ours", withClaims({ aud: "reports-archive" }), "audience"],
    ["aud as one text", withClaims({ aud: "reports" }), web],
    ["aud among others", withClaims({ aud: ["payments", "reports"] }), web],
    ["no exp", withClaims({ exp: undefined }), "expiry"],
    ["exp as text", withClaims({ exp: `${nowS + 60}` }), "expiry"],
    ["exp just over", withClaims({ exp: nowS - 9 }), web],
    ["exp over", withClaims({ exp: nowS - 10 }), "expired"],
    ["nbf just ahead", withClaims({ nbf: nowS + 10 }), web],
    ["nbf ahead", withClaims({ nbf: nowS + 11 }), "not_yet_valid"],
    ["nbf as text", withClaims({ nbf: "0" }), "not_yet_valid"],
    ["other claims", `${head}.${evil}.${signature}`, "signature"],
    ["signature cut", good.slice(0, -4), "signature"],
    ["signed by another domain", token({ key: strangers.privateKey }), "signature"],
    ["of another domain, signed by ours", token({ payload: foreign }), "signature"],
    ["of another domain, signed by it", token({ payload: foreign, key: strangers.privateKey }), foreign.sub],
    ["of an unknown domain", withClaims({ sub: "spiffe://evil/ns/default/svc/web" }), "untrusted_domain"],
  ];
  for (const [what, text, expected] of cases) t.equal(verdict(text), expected, what);
  t.equal(verdict(good, ""), "audience", "no audience asked for");
});

t.test("what is signed is verified, and has what the standard asks for", async (t) => {
  const signer = { kid: kidOf(p256.privateKey), key: p256.privateKey };
  const text = signJwtSvid(signer, {
    id: web,
    audience: ["reports", "b"],
    nowMs: nowMs + 400,
    ttlMs: 300_000,
  });
  t.equal(verdict(text), web);
  const [head, payload] = text
    .split(".")
    .slice(0, 2)
    .map((part) => {
      return JSON.parse(Buffer.from(part, "base64url").toString()) as unknown;
    });
  t.same(head, { alg: "ES256", kid: signer.kid, typ: "JWT" });
  t.same(payload, { aud: ["reports", "b"], exp: nowS + 301, iat: nowS, sub: web });
});

t.test("a key set is read with what is of use in it", async (t) => {
  const ec = jwtKeyOf(p256.privateKey).jwk;
  const small = generateKeyPairSync("rsa", { modulusLength: 1024 }).publicKey.export({ format: "jwk" });
  const kids = (keys: readonly unknown[]): readonly string[] => jwtKeysOf(keys).map(({ kid }) => kid);
  t.same(kids([ec]), [ec["kid"]]);
  for (const [what, element] of [
    ["use of X.509-SVID", { ...ec, use: "x509-svid" }],
    ["use of others", { ...ec, use: "sig" }],
    ["no use", { ...ec, use: undefined }],
    ["no kid", { ...ec, kid: undefined }],
    ["off the curve", { ...ec, x: ec["y"] }],
    ["another curve", { ...ec, crv: "secp256k1" }],
    ["another type", { kty: "oct", k: "AAAA", use: "jwt-svid", kid: "k" }],
    ["RSA of 1024 bits", { ...small, use: "jwt-svid", kid: "k" }],
    ["null", null],
    ["text", "key"],
  ] as const)
    t.same(kids([element]), [], what);
  t.equal(kids(Array.from({ length: 100 }, () => ec)).length, 64, "not without a bound");
  const text = jwkSetText(own);
  t.same(
    readJwkSet(text).map(({ kid }) => kid),
    own.map(({ kid }) => kid),
  );
  t.notMatch(text, /"d":/, "no private part");
  for (const broken of ["", "null", "[]", "{", '{"keys":{}}']) t.same(readJwkSet(broken), []);
});

t.test("random and damaged tokens are refused, and nothing is thrown", async (t) => {
  const good = token();
  const check = (text: string): void => {
    if (text !== good && verdict(text) === web) t.fail(`accepted ${text}`);
  };
  fc.assert(fc.property(fc.string({ maxLength: 300 }), check));
  fc.assert(
    fc.property(fc.nat(good.length - 1), fc.constantFrom(..."Aa0_-.="), (at, letter) => {
      const changed = good.slice(0, at) + letter + good.slice(at + 1);
      // The last letter of a part holds bits that are not part of any byte.
      const isSame = changed.split(".").every((part, index) => {
        const [a, b] = [part, good.split(".")[index] ?? ""].map((text) => Buffer.from(text, "base64url"));
        return a !== undefined && b !== undefined && a.equals(b);
      });
      if (!isSame) check(changed);
    }),
    { numRuns: 500 },
  );
  t.pass("none was accepted");
});
