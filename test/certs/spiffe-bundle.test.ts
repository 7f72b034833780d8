/** The bundle that trust domains exchange: what is written is read, and what a stranger may send. */
import fc from "fast-check";
import t from "tap";
import { CertificateError } from "../../certs/certificate-error.js";
import { jwtKeyOf } from "../../certs/jwk.js";
import { formatSpiffeBundle, maxBundleBytes, parseSpiffeBundle } from "../../certs/spiffe-bundle.js";
import { makeCertificate, makeRoot, newKey, uri } from "../support/make-certificate.js";

const root = makeRoot({ names: [uri("spiffe://other.mesh")] });
const second = makeRoot({ names: [], key: newKey("P-384") });
const jwtKey = jwtKeyOf(newKey());
const text = formatSpiffeBundle({
  rootsPem: root.pem + second.pem,
  jwtKeys: [jwtKey],
  sequence: 7,
  refreshHint: 60,
});

interface Element {
  readonly use: string;
  readonly [member: string]: unknown;
}

const elements = (JSON.parse(text) as { readonly keys: readonly Element[] }).keys;
const [first = { use: "" }] = elements;
const set = (...keys: readonly unknown[]): string => JSON.stringify({ keys });

t.test("what is written has the standard's form, and is read again", async (t) => {
  t.match(JSON.parse(text), { spiffe_sequence: 7, spiffe_refresh_hint: 60 });
  t.same(
    elements.map(({ use, kty, crv, kid, x5c }) => [use, kty, crv, kid, x5c]),
    [
      ["x509-svid", "EC", "P-256", undefined, [root.der.toString("base64")]],
      ["x509-svid", "EC", "P-384", undefined, [second.der.toString("base64")]],
      ["jwt-svid", "EC", "P-256", jwtKey.kid, undefined],
    ],
  );
  t.notMatch(text, /"d":/, "no private key");
  const { rootsPem, jwtKeys, ...rest } = parseSpiffeBundle(text, "other.mesh");
  t.equal(rootsPem, root.pem + second.pem);
  t.same(
    jwtKeys.map(({ kid }) => kid),
    [jwtKey.kid],
  );
  t.same(rest, { sequence: 7, refreshHint: 60 });
});

function verdict(bundle: string, trustDomain = "other.mesh"): string {
  try {
    const { rootsPem, jwtKeys } = parseSpiffeBundle(bundle, trustDomain);
    return `${rootsPem.split("BEGIN").length - 1} roots, ${jwtKeys.length} keys`;
  } catch (error: unknown) {
    if (error instanceof CertificateError) return error.message;
    throw error;
  }
}

t.test("what a stranger may send", async (t) => {
  const x5c = (...ders: readonly Buffer[]): Element => ({
    ...first,
    x5c: ders.map((der) => der.toString("base64")),
  });
  const leaf = makeCertificate({ issuer: root, names: [uri("spiffe://other.mesh/a")] });
  const withPath = makeRoot({ names: [uri("spiffe://other.mesh/ca")] });
  const own = makeRoot({ names: [uri("spiffe://remora.local")] });
  const cases: readonly (readonly [what: string, bundle: string, verdict: string | RegExp])[] = [
    ["as it is", text, "2 roots, 1 keys"],
    [
      "unknown uses and types are ignored",
      set(first, { use: "future" }, { kty: "x" }, null, 1),
      "1 roots, 0 keys",
    ],
    ["x5c missing", set({ ...first, x5c: undefined }, first), "1 roots, 0 keys"],
    ["x5c empty", set({ ...first, x5c: [] }, first), "1 roots, 0 keys"],
    ["all but the first of x5c are ignored", set(x5c(root.der, own.der)), "1 roots, 0 keys"],
    ["keys of JWT-SVIDs alone", set(jwtKey.jwk), "0 roots, 1 keys"],
    ["a CA of our own domain", set(first, x5c(own.der)), /"spiffe:\/\/remora.local", not that of other.mesh/],
    ["a CA with a path", set(x5c(withPath.der)), /not that of other.mesh/],
    ["a leaf", set(x5c(leaf.der)), /not that of a CA/],
    ["garbage in x5c", set({ ...first, x5c: ["AAAA"] }), /not valid DER/],
    ["no keys", "{}", /no JWK set/],
    ["keys that are no list", '{"keys":{}}', /no JWK set/],
    ["an empty set", set(), /no key for X.509-SVIDs or JWT-SVIDs/],
    ["no JSON", "<html>", /not JSON/],
    ["null", "null", /not JSON/],
    ["too much", `${text}${" ".repeat(maxBundleBytes)}`, /more than/],
  ];
  for (const [what, bundle, expected] of cases) t.match(verdict(bundle), expected, what);
  t.match(verdict(text, "remora.local"), /not that of remora.local/, "said to be ours");
  t.match(verdict(text, "Other"), /trust domain has a character/);
  const odd = JSON.stringify({ keys: elements, spiffe_sequence: "7", spiffe_refresh_hint: -1 });
  t.match(parseSpiffeBundle(odd, "other.mesh"), { sequence: undefined, refreshHint: undefined });
});

t.test("any JSON is read or refused", async (t) => {
  fc.assert(fc.property(fc.jsonValue(), (value) => void verdict(JSON.stringify(value) ?? "")));
  fc.assert(fc.property(fc.array(fc.jsonValue()), (keys) => void verdict(set(...keys))));
  t.pass("nothing else was thrown");
});
