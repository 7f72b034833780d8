/** The renewal schedule on a fake clock, and the identity on disk. */
import { chmodSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import t from "tap";
import { createRootCa, issueLeaf, loadAuthority } from "../../certs/authority.js";
import { generateKeyPem, publicKeySpki, readPrivateKey } from "../../certs/keys.js";
import { assembleSvid } from "../../src/identity/assemble-svid.js";
import { lifeLevel, renewAtMs, retryDelayMs } from "../../src/identity/renewal-schedule.js";
import { startRenewal, type RenewalEvent } from "../../src/identity/renewal.js";
import { loadSvid, saveSvid } from "../../src/identity/svid-file.js";
import type { Svid } from "../../src/identity/svid.js";
import { LatestValue } from "../../src/lifecycle/latest-value.js";
import { FakeClock } from "../support/fake-clock.js";

const hourMs = 3_600_000;
const startMs = new FakeClock().wallMs();
const root = await createRootCa({ trustDomain: "remora.local", nowMs: startMs });
const authority = loadAuthority(root.certPem, root.keyPem);
const keyPem = await generateKeyPem();

function issue(nowMs: number, ttlMs: number, service = "web"): Svid {
  const identity = { namespace: "default", service };
  const spki = publicKeySpki(readPrivateKey(keyPem));
  const { certPem } = issueLeaf(authority, { identity, publicKeySpki: spki, nowMs, ttlMs });
  return assembleSvid({ certChainPem: certPem, keyPem, bundlePem: root.certPem });
}

t.test("renews at 50-75 % of the life, counted from the issue", async (t) => {
  const day = issue(startMs, 24 * hourMs);
  t.equal(renewAtMs(day, 0) - startMs, 12 * hourMs);
  t.equal(renewAtMs(day, 0.999_999) - startMs < 18 * hourMs, true);
  const short = issue(startMs, 2000);
  t.equal(renewAtMs(short, 0) - startMs, 1000, "the five minutes before the issue do not count");
  t.equal(renewAtMs({ notBeforeMs: 0, notAfterMs: 60_000 }, 0), 30_000, "another CA's, without backdating");
  t.equal(retryDelayMs(day, 0.5), 30_000);
  t.same([retryDelayMs(day, 0), retryDelayMs(day, 1)].map(Math.round), [24_000, 36_000]);
  t.equal(retryDelayMs(short, 0.5), 100);
  t.equal(retryDelayMs(undefined, 0.5), 30_000);
  const levels = [0, 14.3, 14.5, 20.3, 20.5, 24].map((hours) => lifeLevel(day, startMs + hours * hourMs));
  t.same(levels, ["ok", "ok", "warning", "warning", "error", "expired"]);
});

/** Lets promises settle; the clock stands still meanwhile. */
const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** A renewal loop whose answers the test gives. */
function loop(first: Svid | undefined) {
  const clock = new FakeClock();
  const source = new LatestValue<Svid | undefined>(first);
  const events: RenewalEvent[] = [];
  const calls: { resolve(svid: Svid): void; reject(error: Error): void; readonly signal: AbortSignal }[] = [];
  const renewal = startRenewal({
    source,
    clock,
    onEvent: (event) => events.push(event),
    renew: (signal) => new Promise((resolve, reject) => calls.push({ resolve, reject, signal })),
  });
  const kinds = (): string[] => events.map((event) => (event.kind === "level" ? event.level : event.kind));
  return { clock, source, events, calls, renewal, kinds };
}

t.test("fetches, serves, and waits for the next half", async (t) => {
  const { clock, source, calls, kinds, renewal } = loop(issue(startMs, 24 * hourMs));
  clock.advance(15 * hourMs - 1); // random() is 0.5: 62.5 %
  t.equal(calls.length, 0);
  clock.advance(1);
  t.equal(calls.length, 1);
  const next = issue(clock.wallMs(), 24 * hourMs);
  calls[0]?.resolve(next);
  await settle();
  t.equal(source.get(), next);
  t.same(kinds(), ["warning", "renewed", "ok"], "62.5 % is within the last 40 %");
  clock.advance(15 * hourMs);
  t.equal(calls.length, 2);
  renewal.close();
});

t.test("keeps trying every 30 s, keeps the leaf, and says how urgent it is", async (t) => {
  const first = issue(startMs, 24 * hourMs);
  const { clock, source, calls, events, kinds, renewal } = loop(first);
  clock.randoms = [0, 0.5]; // due at 12 h; the first draw was 0.5, so it is 15 h
  clock.advance(15 * hourMs);
  clock.randoms = [0.5];
  for (let attempt = 1; attempt <= 3; attempt++) {
    t.equal(calls.length, attempt);
    calls.at(-1)?.reject(new Error("connection refused"));
    await settle();
    t.match(events.at(-1), {
      kind: "failed",
      attempt,
      retryInMs: 30_000,
      error: { message: "connection refused" },
    });
    clock.advance(29_999);
    t.equal(calls.length, attempt);
    clock.advance(1);
  }
  t.equal(source.get(), first, "the valid leaf stays");
  // Each attempt now hangs, as with a control plane behind a black hole, until the leaf is long expired.
  for (let minute = 0; minute < 60 * 10; minute++) {
    clock.advance(60_000);
    await settle();
  }
  t.same(
    kinds().filter((kind) => kind !== "failed"),
    ["warning", "error", "expired"],
  );
  t.ok(
    calls.length > 300 &&
      calls
        .slice(0, -1)
        .slice(3)
        .every(({ signal }) => signal.aborted),
    "given up one by one",
  );
  t.equal(source.get(), first);
  const next = issue(clock.wallMs(), 24 * hourMs);
  while (calls.at(-1)?.signal.aborted === true) clock.advance(1000);
  calls.at(-1)?.resolve(next);
  await settle();
  t.equal(source.get(), next);
  t.same(kinds().slice(-2), ["renewed", "ok"]);
  renewal.close();
  t.equal(clock.pendingTimers, 0);
});

t.test("never serves an answer that peers would refuse", async (t) => {
  const first = issue(startMs, 24 * hourMs);
  const { clock, source, calls, events, renewal } = loop(first);
  clock.advance(15 * hourMs);
  const other = await createRootCa({ trustDomain: "remora.local", nowMs: startMs });
  const wrong: readonly (readonly [Svid, RegExp])[] = [
    [issue(clock.wallMs(), 24 * hourMs, "admin"), /svc\/admin instead of .*svc\/web/],
    [issue(startMs - 48 * hourMs, 24 * hourMs), /expired/],
    [issue(clock.wallMs() + hourMs, 24 * hourMs), /not valid yet/],
    [{ ...issue(clock.wallMs(), 24 * hourMs), bundlePem: other.certPem }, /unusable certificate/],
  ];
  for (const [answer, message] of wrong) {
    calls.at(-1)?.resolve(answer);
    await settle();
    t.match(events.at(-1), { kind: "failed", error: { message } });
    t.equal(source.get(), first);
    clock.advance(30_000);
  }
  renewal.close();
});

t.test("fetches the first identity at once, and stops when closed", async (t) => {
  const { clock, source, calls, events, renewal } = loop(undefined);
  t.equal(calls.length, 1);
  renewal.close();
  t.equal(calls[0]?.signal.aborted, true);
  calls[0]?.resolve(issue(startMs, 24 * hourMs));
  await settle();
  t.equal(source.get(), undefined, "a late answer changes nothing");
  clock.advance(48 * hourMs);
  t.same([calls.length, events.length, clock.pendingTimers], [1, 0, 0]);
});

t.test("notices when the wall clock has jumped past the due time", async (t) => {
  const { clock, calls, renewal } = loop(issue(startMs, 24 * hourMs));
  const wallMs = clock.wallMs.bind(clock);
  clock.advance(hourMs);
  clock.wallMs = () => wallMs() + 16 * hourMs; // the machine slept
  clock.advance(60_000);
  t.equal(calls.length, 1);
  renewal.close();
});

t.test("leaves of 2 s are renewed without a gap", async (t) => {
  const { clock, source, calls, renewal } = loop(issue(startMs, 2000));
  let gaps = 0;
  for (let step = 0; step < 300; step++) {
    clock.advance(100);
    for (const call of calls.splice(0)) call.resolve(issue(clock.wallMs(), 2000));
    await settle();
    if (clock.wallMs() >= (source.get()?.notAfterMs ?? 0)) gaps++;
  }
  t.equal(gaps, 0);
  renewal.close();
});

t.test("stores the identity in one private file and reads it back", async (t) => {
  const dir = path.join(t.testdir(), "state");
  t.equal(await loadSvid(dir), undefined);
  const svid = issue(startMs, hourMs);
  await saveSvid(dir, svid);
  const newer = issue(startMs, 2 * hourMs);
  await saveSvid(dir, newer);
  t.same({ ...(await loadSvid(dir)) }, { ...newer });
  t.same(readdirSync(dir), ["svid.pem"]);
  t.equal(statSync(dir).mode & 0o777, 0o700);
  const file = path.join(dir, "svid.pem");
  t.equal(statSync(file).mode & 0o777, 0o600);
  const text = readFileSync(file, "utf8");
  const other = await generateKeyPem();
  const damaged = [
    "",
    text.slice(0, 400),
    text.replace(/# trust bundle[^]*/, ""),
    text.replace(/# trust bundle\n[^]*/, "# trust bundle\n"),
    text.replace(/-----BEGIN PRIVATE[^]*?PRIVATE KEY-----\n/, ""),
    text.replace(/-----BEGIN PRIVATE[^]*?PRIVATE KEY-----\n/, other),
    text.replace(/MII[^]{40}/, "MIIAAAA"),
  ];
  for (const content of damaged) {
    writeFileSync(file, content);
    const error: unknown = await loadSvid(dir).catch((failure: unknown) => failure);
    t.match(error, { name: "ConfigError", message: /svid\.pem is damaged \(.*\): remove the file/ });
  }
  writeFileSync(file, text);
  chmodSync(file, 0o644);
  await t.rejects(loadSvid(dir), { name: "ConfigError", message: /chmod 600/ });
});

t.test(
  "a certificate that is refused is renewed at once, but not more often than one that fails",
  async (t) => {
    const { clock, calls, renewal } = loop(issue(startMs, 24 * hourMs));
    renewal.hurry();
    t.equal(calls.length, 1, "at once");
    renewal.hurry();
    t.equal(calls.length, 1, "one is under way");
    calls[0]?.reject(new Error("revoked"));
    await settle();
    clock.advance(1000);
    renewal.hurry();
    t.equal(calls.length, 1, "one was a moment ago");
    clock.advance(29_000);
    t.equal(calls.length, 2, "by itself");
    calls[1]?.resolve(issue(clock.wallMs(), 24 * hourMs));
    await settle();
    clock.advance(hourMs);
    renewal.hurry();
    t.equal(calls.length, 3, "the new one too");
    renewal.close();
    renewal.hurry();
    t.equal(calls.length, 3, "closed");
  },
);
