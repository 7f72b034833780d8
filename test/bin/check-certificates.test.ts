/** When `remora check` warns of a certificate and when it fails: by the part of the life that is left. */
import t from "tap";
import { caLine, certificateLines } from "../../bin/check-certificates.js";
import type { CheckLine } from "../../bin/check-line.js";
import type { CertificateSummary } from "../../certs/inspect.js";
import type { ServedCertificateView } from "../../control-plane/admin/served-certificates.js";
import { FakeClock } from "../support/fake-clock.js";

const nowMs = new FakeClock().wallMs();
const dayMs = 86_400_000;
/** As our CA makes them: valid since five minutes before they were issued. */
const backdateMs = 300_000;

function life(lifeMs: number, left: number) {
  const notAfterMs = nowMs + lifeMs * left;
  return { notBeforeMs: notAfterMs - lifeMs - backdateMs, notAfterMs };
}

const served = (change: Partial<ServedCertificateView> = {}): ServedCertificateView => ({
  instance: "web.default-10.0.0.1-80",
  service: "web.default",
  at: "10.0.0.1:2000",
  id: "spiffe://m/ns/default/svc/web",
  serial: "5A",
  problem: null,
  isSeen: true,
  ...life(dayMs, 0.9),
  ...change,
});

const linesOf = (sidecars: readonly ServedCertificateView[], leftOut = 0): readonly CheckLine[] =>
  certificateLines(
    { controlPlane: { id: "cp", serial: "1", ...life(dayMs, 0.9) }, intermediates: [], sidecars, leftOut },
    nowMs,
  );

t.test("leaves: by the part of their life, whether they live for days or for seconds", async (t) => {
  const table: readonly (readonly [number, CheckLine["state"]])[] = [
    [0.9, "ok"],
    [0.26, "ok"],
    [0.24, "warning"],
    [0.16, "warning"],
    [0.15, "failed"],
    [0.01, "failed"],
    [0, "failed"],
    [-1, "failed"],
  ];
  for (const lifeMs of [7 * dayMs, dayMs, 60_000])
    for (const [left, state] of table) {
      const [line] = linesOf([served(life(lifeMs, left))]);
      t.equal(line?.state, state, `${left} of ${lifeMs} ms left`);
      const own = { id: "cp", serial: "1", ...life(lifeMs, left) };
      t.equal(
        certificateLines({ controlPlane: own, intermediates: [], sidecars: [], leftOut: 0 }, nowMs)[0]?.state,
        state,
      );
    }
  t.match(linesOf([served(life(dayMs, 0.1))]), [
    { text: /certificate of web\.default-10\.0\.0\.1-80 is valid for 2h only, 10 % of its life/ },
  ]);
  t.match(linesOf([served(life(dayMs, -1))]), [
    { text: /has expired 24h ago/, fix: /why it was not renewed/ },
  ]);
});

t.test("what peers would refuse fails, what cannot be seen is told", async (t) => {
  t.match(linesOf([served({ problem: "belongs to spiffe://m/ns/default/svc/evil" })]), [
    { state: "failed", text: /shows a certificate at 10\.0\.0\.1:2000 that peers refuse: belongs to/ },
  ]);
  t.match(linesOf([served({ isSeen: false, problem: "no handshake within 2s", notAfterMs: null })]), [
    { state: "warning", text: /cannot be seen at 10\.0\.0\.1:2000: no handshake within 2s/ },
  ]);
  t.match(linesOf([served(), served()], 3), [
    { state: "ok", text: /^2 sidecars show/ },
    { state: "warning", text: /3 sidecars were not looked at/ },
  ]);
  t.match(linesOf([]), [{ state: "ok" }]);
});

t.test("exported certificates, which nobody renews by itself", async (t) => {
  const linesOfExported = (left: number): readonly CheckLine[] => {
    const exported = [{ id: "spiffe://m/ns/default/svc/batch", serial: "5E", ...life(dayMs, left) }];
    const controlPlane = { id: "cp", serial: "1", ...life(dayMs, 0.9) };
    return certificateLines({ controlPlane, intermediates: [], sidecars: [], leftOut: 0, exported }, nowMs);
  };
  t.same(
    [0.9, 0.26, 0.24, 0.15, 0.01, -0.1].map((left) => linesOfExported(left)[0]?.state),
    ["ok", "ok", "warning", "failed", "failed", "warning"],
  );
  t.match(linesOfExported(0.1), [
    { text: /svc\/batch \(remora cert issue\) is valid for 2h only/, fix: /remora cert revoke 5E$/ },
  ]);
  t.match(linesOfExported(-0.1), [{ text: /has expired 2h ago/, fix: /^issue the next one/ }]);
});

t.test("CAs: long before, since replacing one is work", async (t) => {
  const ca = (lifeDays: number, left: number): CheckLine => {
    const { notBeforeMs, notAfterMs } = life(lifeDays * dayMs, left);
    const state = left > 0 ? "valid" : "expired";
    return caLine(
      {
        state,
        notBefore: new Date(notBeforeMs).toISOString(),
        notAfter: new Date(notAfterMs).toISOString(),
      } as CertificateSummary,
      nowMs,
    );
  };
  for (const days of [3650, 365, 30])
    t.same(
      [0.5, 0.11, 0.09, 0.04, 0.03, 0].map((left) => ca(days, left).state),
      ["ok", "ok", "warning", "warning", "failed", "failed"],
      `${days} days`,
    );
  const controlPlane = { id: "cp", serial: "1", ...life(dayMs, 0.9) };
  const intermediate = (left: number): readonly CheckLine[] => {
    const intermediates = [{ id: null, serial: "2", ...life(365 * dayMs, left) }];
    return certificateLines({ controlPlane, intermediates, sidecars: [], leftOut: 0 }, nowMs);
  };
  t.same(
    [0.5, 0.09, 0.02, -0.1].map((left) => intermediate(left)[0]?.state),
    ["ok", "warning", "failed", "failed"],
    "an intermediate",
  );
});
