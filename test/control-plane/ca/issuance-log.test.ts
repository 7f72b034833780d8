/** Lines of the issuance log as they were written once stay readable, beside those of today. */
import { writeFileSync } from "node:fs";
import path from "node:path";
import t from "tap";
import { createRootCa, loadAuthority } from "../../../certs/authority.js";
import { createCsr } from "../../../certs/csr.js";
import { generateKeyPem, keyTypes } from "../../../certs/keys.js";
import { entryOf, openIssuanceLog } from "../../../control-plane/ca/issuance-log.js";
import { createIssuer } from "../../../control-plane/ca/issuer.js";
import { FakeClock } from "../../support/fake-clock.js";

t.test("kinds of keys have one name, whatever the line calls them", async (t) => {
  const clock = new FakeClock();
  const dir = t.testdir();
  const former = {
    ...{ at: "2026-01-01T00:00:00.000Z", id: "spiffe://mesh.local/ns/default/svc/web", serial: "5A" },
    ...{ notAfter: "2026-01-02T00:00:00.000Z", by: "token", proof: "00", address: "10.0.0.1" },
  };
  const lines = ["P-256", "P-384", "ed25519"].map((keyType) => JSON.stringify({ ...former, keyType }));
  writeFileSync(path.join(dir, "issued.jsonl"), `${lines.join("\n")}\n`);
  const log = openIssuanceLog(dir, clock);
  const { certPem, keyPem } = await createRootCa({ trustDomain: "mesh.local", nowMs: clock.wallMs() });
  const issuer = createIssuer({ root: loadAuthority(certPem, keyPem), clock });
  for (const keyType of keyTypes) {
    const csrPem = createCsr(await generateKeyPem(keyType));
    const issued = issuer.issue({ namespace: "default", service: "web" }, csrPem);
    await log.append(entryOf(issued, { by: "offline", proof: "ada", address: "" }, clock.wallMs()));
  }
  const entries = [];
  for await (const entry of log.read()) entries.push(entry);
  t.same(
    entries.map(({ keyType }) => keyType),
    ["ec-p256", "ec-p384", "ed25519", "ec-p256", "ec-p384"],
  );
  t.match(entries[0], { serial: "5A", by: "token" }, "nothing else changes");
});
