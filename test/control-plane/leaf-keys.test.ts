/** The kind of key that a mesh wants is learned from its control plane, at joining and at renewal. */
import { X509Certificate } from "node:crypto";
import path from "node:path";
import t from "tap";
import { renew } from "../../src/discovery/enroll.js";
import { systemClock as clock } from "../../src/time/clock.js";
import type { Svid } from "../../src/identity/svid.js";
import { joinWith, newToken, startMeshHead } from "../support/started-control-plane.js";

const curveOf = (svid: Svid): string | undefined =>
  new X509Certificate(svid.certChainPem).publicKey.asymmetricKeyDetails?.namedCurve;

void t.test("P-256 is the default, and a new policy counts from the next renewal on", async (t) => {
  const dataDir = path.join(t.testdir(), "data");
  const first = await startMeshHead(t, dataDir);
  const svid = await joinWith(first, "web", await newToken(first, "web"));
  t.equal(curveOf(svid), "prime256v1");
  await first.close();
  const second = await startMeshHead(t, dataDir, { leafKeyType: "ec-p384" });
  const renewed = await renew(svid, { controlPlane: second.listenAddress, clock });
  t.equal(curveOf(renewed), "secp384r1");
  t.equal(renewed.id, svid.id);
  const again = await renew(renewed, { controlPlane: second.listenAddress, clock });
  t.equal(curveOf(again), "secp384r1", "a client certificate of that kind is taken");
});

void t.test("a token of one use is not used up by a key of the wrong kind", async (t) => {
  const mesh = await startMeshHead(t, path.join(t.testdir(), "data"), { leafKeyType: "ec-p384" });
  const svid = await joinWith(mesh, "web", await newToken(mesh, "web"));
  t.equal(curveOf(svid), "secp384r1");
});
