/** Row 58: chains that cost a careless verifier seconds or for ever cost ours milliseconds. */
import t from "tap";
import { splitPemCertificates } from "../../certs/bundle.js";
import { parseCertificate } from "../../certs/certificate.js";
import { verifySvidChain } from "../../certs/verify.js";
import { makeCertificate, makeRoot, middayMs, uri } from "../support/make-certificate.js";
import { endlessCurve, rightLeaf, wrongLeaves } from "../support/wrong-leaves.js";

const trustDomain = "remora.local";
const root = makeRoot({ notAfterMs: middayMs + 48 * 3_600_000 });
const table = { root, trustDomain, service: "web", nowMs: middayMs };
const options = { nowMs: middayMs, trustDomain };
/** Generous for a busy machine; what is bounded is the work, which takes milliseconds. */
const boundMs = 2000;

t.test("row 58: every pathological chain is refused in bounded time", async (t) => {
  for (const { name, cert } of wrongLeaves(table).filter(({ name }) => name.startsWith("58"))) {
    const startMs = performance.now();
    t.equal(verifySvidChain(splitPemCertificates(cert), root.pem, options).ok, false, name);
    t.ok(performance.now() - startMs < boundMs, `${name}: in bounded time`);
  }
});

t.test("row 58: an issuer on a curve over no field is refused, and not computed with for ever", async (t) => {
  const issuer = makeCertificate({
    issuer: root,
    subject: "endless",
    isCa: true,
    keyUsageHex: "0106",
    extendedKeyUsageHex: [],
    names: [uri(`spiffe://${trustDomain}`)],
    spki: endlessCurve(),
  });
  const startMs = performance.now();
  const chain = [rightLeaf(table, { issuer }).der, issuer.der];
  t.match(verifySvidChain(chain, root.pem, options), { ok: false });
  t.ok(performance.now() - startMs < boundMs, "in bounded time");
  t.ok(parseCertificate(issuer.der).isCa, "our reader does not look into the curve");
});

t.test("rows 54, 55, 57: a verifier without a handshake refuses the same leaves", async (t) => {
  for (const { name, cert } of wrongLeaves(table))
    t.equal(verifySvidChain(splitPemCertificates(cert), root.pem, options).ok, false, name);
});
