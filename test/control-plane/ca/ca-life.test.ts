/** A CA near its end is told of every day; certificates that nobody renews are listed by their end. */
import t from "tap";
import { createRootCa, loadAuthority } from "../../../certs/authority.js";
import { watchCaLife } from "../../../control-plane/ca/ca-life.js";
import { exportedCertificates } from "../../../control-plane/ca/exported-certificates.js";
import { openIssuanceLog, type IssuedEntry } from "../../../control-plane/ca/issuance-log.js";
import { LatestValue } from "../../../src/lifecycle/latest-value.js";
import { FakeClock } from "../../support/fake-clock.js";

const dayMs = 86_400_000;

t.test("silent for nine years, then a warning a day, then errors", async (t) => {
  const clock = new FakeClock();
  const { certPem, keyPem } = await createRootCa({ trustDomain: "mesh.local", nowMs: clock.wallMs() });
  const state = new LatestValue({ active: loadAuthority(certPem, keyPem) });
  const lifeDays = Math.round((state.get().active.certificate.notAfterMs - clock.wallMs()) / dayMs);
  const told: string[] = [];
  const start = () => watchCaLife(state, clock, (level, text) => told.push(`${level} ${text}`));
  const end = start();
  clock.advance(Math.floor(lifeDays * 0.89) * dayMs);
  t.same(told, []);
  clock.advance(Math.ceil(lifeDays * 0.02) * dayMs);
  t.ok(told.length > 30, `${told.length} days`);
  t.match(told[0], /^warn the root CA ends at \d{4}-.*: replace it before that \(docs\/ca\.md/);
  clock.advance(Math.ceil(lifeDays * 0.07) * dayMs);
  t.match(told.at(-1), /^error the root CA/);
  end();
  told.length = 0;
  clock.advance(10 * dayMs);
  t.same(told, []);
  start()();
  t.match(told, [/^error/], "also at the next start, at once");
});

t.test("exported: the newest of each service, without those that were revoked or are history", async (t) => {
  const clock = new FakeClock();
  const log = openIssuanceLog(t.testdir(), clock);
  const now = clock.wallMs();
  const entry = (
    serial: string,
    service: string,
    fromDay: number,
    toDay: number,
    by: IssuedEntry["by"] = "offline",
  ) =>
    log.append({
      ...{ serial, by, proof: "ada", address: "", keyType: "ec-p256" },
      id: `spiffe://mesh.local/ns/default/svc/${service}`,
      at: new Date(now + fromDay * dayMs).toISOString(),
      notAfter: new Date(now + toDay * dayMs).toISOString(),
    });
  await entry("A1", "batch", -9, -2);
  await entry("A2", "batch", -3, 4);
  await entry("B1", "cron", -10, -3);
  await entry("C1", "old", -10, -8);
  await entry("D1", "web", -1, 1, "token");
  await entry("E1", "gone", -1, 6);
  const revocations = { serials: new LatestValue<ReadonlySet<string>>(new Set(["E1"])) };
  const views = await exportedCertificates({ log, revocations }, now);
  t.same(
    views.map(({ serial }) => serial),
    ["B1", "A2"],
  );
  t.match(views[1], { id: "spiffe://mesh.local/ns/default/svc/batch", notAfterMs: now + 4 * dayMs });
});
