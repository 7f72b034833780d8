/** What the CA has issued, and how it is taken back: at the control plane's own ports. Peers: test/integration/. */
import { chmodSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import t from "tap";
import type { CertificateView } from "../../../control-plane/ca/certificate-list.js";
import { issueFiles } from "../../../control-plane/ca/offline-issue.js";
import { openRevocations } from "../../../control-plane/ca/revocations.js";
import type { ControlPlane } from "../../../control-plane/index.js";
import { renew } from "../../../src/discovery/enroll.js";
import type { Svid } from "../../../src/identity/svid.js";
import { systemClock as clock } from "../../../src/time/clock.js";
import { FakeClock } from "../../support/fake-clock.js";
import {
  askAdmin,
  connectSidecar,
  joinMesh,
  joinWith,
  newToken,
  sidecars,
  startMeshHead,
} from "../../support/started-control-plane.js";
import { until } from "../../support/until.js";

const certificates = async (mesh: ControlPlane, query = ""): Promise<readonly CertificateView[]> =>
  (await askAdmin(mesh, "GET", `/v1/certificates?${query}`)).json[
    "certificates"
  ] as readonly CertificateView[];

const revoke = (mesh: ControlPlane, what: Record<string, string>) =>
  askAdmin(mesh, "POST", "/v1/certificates/revoke", { body: { reason: "laptop stolen", ...what } });

const renewAt = (mesh: ControlPlane, svid: Svid): Promise<Svid> =>
  renew(svid, { controlPlane: mesh.listenAddress, clock });

t.test("every certificate is in the log before its owner has it", async (t) => {
  const dataDir = path.join(t.testdir(), "data");
  const mesh = await startMeshHead(t, dataDir);
  const token = await newToken(mesh, "web");
  const first = await joinWith(mesh, "web", token);
  const second = await renewAt(mesh, first);
  const caDir = path.join(dataDir, "ca");
  const outDir = path.join(dataDir, "out");
  const offline = { service: "batch", namespace: "jobs", user: "ada" };
  await issueFiles({ caDir, outDir, ...offline, clock, ttlMs: 60_000 });
  await connectSidecar(t, mesh, { id: "web-1", service: "web", svid: second });
  const file = path.join(caDir, "issued.jsonl");
  t.equal(statSync(file).mode & 0o777, 0o600);
  const lines = readFileSync(file, "utf8").trimEnd().split("\n");
  t.match(
    lines.map((line) => JSON.parse(line) as unknown),
    [
      { by: "control-plane", id: "spiffe://mesh.local/ns/remora/svc/control-plane" },
      {
        id: "spiffe://mesh.local/ns/default/svc/web",
        serial: first.serial,
        notAfter: new Date(first.notAfterMs).toISOString(),
        by: "token",
        proof: /^[0-9a-f]{12}$/,
        address: "127.0.0.1",
        keyType: "ec-p256",
      },
      { serial: second.serial, by: "certificate", proof: first.serial, address: "127.0.0.1" },
      { id: "spiffe://mesh.local/ns/jobs/svc/batch", by: "offline", proof: "ada", address: "" },
    ],
  );
  t.notOk(readFileSync(file, "utf8").includes(token.slice(5, 20)), "no token");
  t.match(await certificates(mesh), [
    { by: "offline", state: "active", inUseBy: [] },
    { serial: second.serial, state: "active", reason: null, inUseBy: ["web-1"] },
    { serial: first.serial, state: "active", inUseBy: [] },
    { by: "control-plane" },
  ]);
  t.match(await certificates(mesh, "service=web&limit=1"), [{ serial: second.serial }]);
  t.same(await certificates(mesh, "service=web&namespace=other"), []);
  t.match(await askAdmin(mesh, "GET", "/v1/certificates?limit=0"), { status: 400 });
  t.match(await askAdmin(mesh, "GET", "/v1/certificates?service=../x"), { status: 400 });
});

t.test("expired certificates are shown when asked for", async (t) => {
  const mesh = await startMeshHead(t, path.join(t.testdir(), "data"), { leafTtlMs: 2000 });
  const { serial } = await joinMesh(mesh, "web");
  await until("it has expired", async () => (await certificates(mesh, "service=web")).length === 0);
  t.match(await certificates(mesh, "service=web&all=true"), [{ serial, state: "expired" }]);
});

t.test("on a full disk no certificate is issued", async (t) => {
  const dataDir = path.join(t.testdir(), "data");
  const mesh = await startMeshHead(t, dataDir);
  const web = await joinMesh(mesh, "web");
  const file = path.join(dataDir, "ca", "issued.jsonl");
  rmSync(file);
  symlinkSync("/dev/full", file);
  const refused = {
    name: "ConfigError",
    message: /no certificate is issued: .*ENOSPC\): free space on its disk$/,
  };
  await t.rejects(renewAt(mesh, web), refused);
  await t.rejects(joinMesh(mesh, "api"), refused);
  const caDir = path.join(dataDir, "ca");
  const offline = { caDir, outDir: path.join(dataDir, "out"), service: "batch", namespace: "x", user: "ada" };
  await t.rejects(issueFiles({ ...offline, clock }), { message: /issuance log cannot be written/ });
  rmSync(file);
  t.ok(await renewAt(mesh, web), "there is space again");
});

t.test("a revoked certificate ends its streams, and neither it nor its token are good again", async (t) => {
  const dataDir = path.join(t.testdir(), "data");
  const mesh = await startMeshHead(t, dataDir);
  const reused = await newToken(mesh, "web", 5);
  const web = await joinWith(mesh, "web", reused);
  const other = await joinWith(mesh, "web", reused);
  const api = await joinMesh(mesh, "api");
  const caller = await connectSidecar(t, mesh, { id: "web-1", service: "web", svid: web });
  await connectSidecar(t, mesh, { id: "web-2", service: "web", svid: other });
  const startedMs = clock.monotonicMs();
  t.match(await revoke(mesh, { serial: web.serial.toLowerCase() }), {
    status: 200,
    json: { revoked: [{ serial: web.serial, id: web.id }], tokensVoided: 1 },
  });
  await caller.states.until((state) => state?.connected === false, AbortSignal.timeout(5000));
  await until("its stream has ended", async () => (await sidecars(mesh)).every(({ id }) => id !== "web-1"));
  t.ok(clock.monotonicMs() - startedMs < 1000, "within a second");
  t.match(
    (await sidecars(mesh)).map(({ id }) => id),
    ["web-2"],
    "others go on",
  );
  await t.rejects(renewAt(mesh, web), {
    message: new RegExp(`certificate ${web.serial} was revoked: a new join token is needed`),
  });
  const lost = await caller.states.until(
    (state) => state?.lastError !== undefined,
    AbortSignal.timeout(5000),
  );
  t.match(lost?.lastError, /revoked|closed|drop/i);
  await t.rejects(joinWith(mesh, "web", reused), {
    message: /made before certificates of its service were revoked/,
  });
  t.ok(await renewAt(mesh, other), "another leaf of the service is good");
  t.ok(await renewAt(mesh, api));
  t.match(await certificates(mesh, "service=web"), [
    { state: "active" },
    { serial: other.serial, state: "active" },
    { serial: web.serial, state: "revoked", reason: "laptop stolen" },
  ]);
  const again = await joinMesh(mesh, "web");
  t.ok(await renewAt(mesh, again), "joined again with a new token");

  await mesh.close();
  const restarted = await startMeshHead(t, dataDir);
  await t.rejects(renewAt(restarted, web), { message: /was revoked/ }, "also after a restart");
  t.ok(await renewAt(restarted, again));
});

t.test("what was renewed with a revoked certificate goes with it", async (t) => {
  const mesh = await startMeshHead(t, path.join(t.testdir(), "data"));
  const first = await joinMesh(mesh, "web");
  const second = await renewAt(mesh, first);
  const third = await renewAt(mesh, second);
  const { json } = await revoke(mesh, { serial: first.serial });
  t.match(json, { revoked: [first, second, third].map(({ serial }) => ({ serial })) });
  await t.rejects(renewAt(mesh, third), { message: /was revoked/ });
});

t.test("a service is evicted, while it renews as fast as it can", async (t) => {
  const mesh = await startMeshHead(t, path.join(t.testdir(), "data"));
  const tokens = await Promise.all(Array.from({ length: 8 }, () => newToken(mesh, "web")));
  const [first = ""] = tokens;
  const held = [await joinWith(mesh, "web", first)];
  const api = await joinMesh(mesh, "api");
  let isEvicted = false;
  const renewing = (async () => {
    for (;;) {
      try {
        held.push(await renewAt(mesh, held.at(-1) as Svid));
      } catch (error: unknown) {
        if (isEvicted) return;
        if (
          !/ask again in a second|was revoked|were revoked|Connection dropped|is unreachable/.test(
            String(error),
          )
        )
          throw error;
      }
    }
  })();
  const joining = Promise.allSettled(tokens.slice(1).map((token) => joinWith(mesh, "web", token)));
  await until("it has renewed a few times", () => held.length > 3);
  const answer = await revoke(mesh, { service: "web" });
  isEvicted = true;
  await renewing;
  for (const one of await joining) if (one.status === "fulfilled") held.push(one.value);
  t.equal(answer.status, 200);
  const { revoked } = answer.json as { revoked: readonly { readonly serial: string }[] };
  t.comment(`${held.length} certificates were held, ${revoked.length} revoked`);
  for (const { serial } of held)
    t.ok(
      revoked.some((leaf) => leaf.serial === serial),
      `${serial} is revoked`,
    );
  const known = await certificates(mesh, "service=web");
  t.same(
    known.filter(({ state }) => state !== "revoked"),
    [],
    "none was left out",
  );
  t.ok(await renewAt(mesh, api), "another service goes on");
});

t.test("one connected sidecar is evicted by its name", async (t) => {
  const mesh = await startMeshHead(t, path.join(t.testdir(), "data"));
  const web = await joinMesh(mesh, "web");
  await connectSidecar(t, mesh, { id: "web-1", service: "web", svid: web });
  t.match(await revoke(mesh, { node: "web-9" }), {
    status: 400,
    json: { error: /no sidecar "web-9" is connected/ },
  });
  t.match(await revoke(mesh, { node: "web-1" }), { json: { revoked: [{ serial: web.serial }] } });
  await t.rejects(renewAt(mesh, web), { message: /was revoked/ });
});

t.test("wishes that make no sense are refused", async (t) => {
  const mesh = await startMeshHead(t, path.join(t.testdir(), "data"));
  const { serial } = await joinMesh(mesh, "web");
  for (const [wish, error] of [
    [{}, /exactly one of/],
    [{ serial, service: "web" }, /exactly one of/],
    [{ serial: "00" }, /no certificate with serial "00" is in use/],
    [{ service: "nobody" }, /no certificate of nobody\.default/],
    [{ service: "../x" }, /cannot be a service/],
    [{ service: "control-plane", namespace: "remora" }, /own certificate cannot be revoked/],
    [{ serial, reason: "" }, /reason/],
  ] as const)
    t.match(await revoke(mesh, wish), { status: 400, json: { error } });
});

const leaf = { id: "spiffe://mesh.local/ns/default/svc/web", reason: "test", atMs: 1 };

t.test("revoked serials are forgotten when their leaf has expired", async (t) => {
  const clock = new FakeClock();
  const file = path.join(t.testdir(), "revoked.json");
  const revocations = await openRevocations({ file, clock });
  t.teardown(() => revocations.close());
  const nowMs = clock.wallMs();
  await revocations.add([
    { ...leaf, serial: "AA", notAfterMs: nowMs + 60_000 },
    { ...leaf, serial: "BB", notAfterMs: nowMs + 86_400_000 },
  ]);
  t.same([...revocations.serials.get()], ["AA", "BB"]);
  t.equal(statSync(file).mode & 0o777, 0o600);
  clock.advance(2 * 3_600_000);
  t.same([...revocations.serials.get()], ["BB"]);
  await until("the file follows", async () => !readFileSync(file, "utf8").includes('"AA"'));
});

t.test("revocations that cannot be saved are in force, and said not to last", async (t) => {
  const clock = new FakeClock();
  const revocations = await openRevocations({ file: path.join(t.testdir(), "gone", "revoked.json"), clock });
  t.teardown(() => revocations.close());
  const added = revocations.add([{ ...leaf, serial: "AA", notAfterMs: clock.wallMs() + 1000 }]);
  t.ok(revocations.serials.get().has("AA"), "at once");
  await t.rejects(added, { name: "ConfigError", message: /ENOENT.*in force until the next start only/ });
});

t.test("a damaged file of revocations stops the start, and is not overwritten", async (t) => {
  const file = path.join(t.testdir({ "revoked.json": "" }), "revoked.json");
  chmodSync(file, 0o600);
  for (const text of [
    "",
    "{",
    "null",
    '{"version":2,"leaves":[],"evictions":[]}',
    '{"version":1,"leaves":[{}],"evictions":[]}',
    '{"version":1,"leaves":[null],"evictions":[]}',
    '{"version":1,"leaves":[],"evictions":[{"service":"web"}]}',
  ]) {
    writeFileSync(file, text);
    await t.rejects(openRevocations({ file, clock: new FakeClock() }), {
      name: "ConfigError",
      message: /is damaged: restore it/,
    });
    t.equal(readFileSync(file, "utf8"), text);
  }
  chmodSync(file, 0o644);
  await t.rejects(openRevocations({ file, clock: new FakeClock() }), { message: /chmod 600/ });
});
