/** Real processes: a certificate is taken back while its owner, and a thief with its key, are in the middle of calls. */
import { readFile, rm, writeFile } from "node:fs/promises";
import type net from "node:net";
import tls from "node:tls";
import t from "tap";
import { renew } from "../../src/discovery/enroll.js";
import { loadSvid } from "../../src/identity/svid-file.js";
import type { Svid } from "../../src/identity/svid.js";
import { systemClock as clock } from "../../src/time/clock.js";
import { metric, startMesh } from "../support/cli-mesh.js";
import { runRemora } from "../support/cli-process.js";
import { call, type Answer } from "../support/http-load.js";
import { until } from "../support/until.js";

const mesh = await startMesh(t);
const [web, other, api] = await Promise.all([
  mesh.join({ name: "web", service: "web", upstreams: ["api"] }),
  mesh.join({ name: "other", service: "other", upstreams: ["api"] }),
  mesh.join({ name: "api", service: "api" }),
]);
for (const caller of [web, other]) await mesh.untilKnown(caller, "api", [api]);
const get = (from: typeof web, path = "/"): Promise<Answer> =>
  call({ port: from.upstreams.get("api") ?? 0, path });
const served = async (): Promise<number> =>
  Number((JSON.parse((await call({ port: api.app, path: "/count" })).body) as { served: number }).served);

interface Certificate {
  readonly serial: string;
  readonly state: string;
  readonly inUseBy: readonly string[];
}
const certificates = async (service: string): Promise<readonly Certificate[]> => {
  const { code, out, err } = await mesh.remora(["cert", "list", "--service", service, "-o", "json"]);
  if (code !== 0) throw new Error(err);
  return (JSON.parse(out) as { certificates: readonly Certificate[] }).certificates;
};

/** What a thief of the key does: a connection of its own to the inbound port of api. */
function steal({ keyPem, certChainPem }: Svid, session?: Buffer): Promise<tls.TLSSocket> {
  return new Promise((resolve, reject) => {
    const socket = tls.connect(
      {
        ...{ host: "127.0.0.1", port: api.inbound, rejectUnauthorized: false },
        ...{ key: keyPem, cert: certChainPem, ALPNProtocols: ["http/1.1"] },
        ...(session === undefined ? {} : { session }),
      },
      () => resolve(socket),
    );
    socket.once("error", reject);
  });
}

/** All that comes back until the connection ends. */
function exchange(socket: net.Socket, text: string): Promise<string> {
  return new Promise((resolve) => {
    let received = "";
    socket.setEncoding("latin1").on("data", (chunk: string) => (received += chunk));
    socket.on("error", () => undefined);
    socket.once("close", () => resolve(received));
    socket.setTimeout(10_000, () => resolve(`nothing within 10 s: ${received}`));
    socket.write(text);
  });
}

const request = "GET /stolen HTTP/1.1\r\nhost: api\r\n\r\n";

t.test("a live caller is cut off within a second, and nothing brings it back but a new token", async (t) => {
  t.equal((await get(web)).status, 200);
  t.equal((await get(other)).status, 200);
  const svid = await loadSvid(web.stateDir);
  if (svid === undefined) throw new Error("web has no certificate");
  const [known] = await certificates("web");
  t.match(known, { serial: svid.serial, state: "active", inUseBy: [/^web\.default-/] });

  // An idle connection of a thief that was let in, and the session it could resume.
  const idle = await steal(svid);
  const sessions: Buffer[] = [];
  idle.on("session", (session) => void sessions.push(session));
  let heard = "";
  idle.setEncoding("latin1").on("data", (chunk: string) => (heard += chunk));
  idle.on("error", () => undefined);
  const idleClosed = new Promise<number>((resolve) => idle.once("close", () => resolve(clock.monotonicMs())));
  idle.write(request);
  await until("the thief is let in before", () => /"caller":"spiffe:[^"]*web"/.test(heard));
  const pending = get(web, "/?ms=8000");
  await until("a request under way", async () => (await served()) >= 4);

  const { code, out, err, tookMs } = await mesh.remora([
    ...["cert", "revoke", svid.serial, "--reason", "laptop stolen"],
  ]);
  const revokedMs = clock.monotonicMs();
  t.equal(code, 0, err);
  t.match(
    out,
    new RegExp(
      `revoked ${svid.serial} of spiffe://mesh\\.local/ns/default/svc/web\n1 certificate revoked, 1 join token made`,
    ),
  );
  t.comment(`the command took ${tookMs.toFixed(0)} ms`);
  t.ok((await idleClosed) - revokedMs < 1000, "the thief's open connection is closed within a second");
  const cut = await pending;
  t.ok(cut.status >= 500, `the request under way ended with ${cut.status} ${cut.error}`);
  t.ok(clock.monotonicMs() - revokedMs < 2000, "at once, not when it was done");
  const before = await served();
  const next = await get(web);
  t.ok(next.status >= 500, `the next request: ${next.status} ${next.error} ${next.body.trim()}`);

  for (const session of [undefined, ...sessions]) {
    const refusals = (): Promise<number> =>
      metric(api.admin, "remora_peer_refusals_total", { reason: "revoked" });
    const counted = await refusals();
    const answer = await steal(svid, session).then(
      (socket) => exchange(socket, request),
      () => "",
    );
    t.equal(answer, "", session === undefined ? "a new connection" : "a resumed session");
    await until("a metric says why", async () => (await refusals()) > counted);
  }
  t.equal(await served(), before, "not one request reached the application");
  t.equal((await get(other)).status, 200, "other callers did not notice");

  await t.rejects(renew(svid, { controlPlane: mesh.controlPlane, clock }), { message: /was revoked/ });
  t.match(await certificates("web"), [{ serial: svid.serial, state: "revoked" }]);

  // Joining again: with the token of before, which had uses left, and with a new one.
  await web.process.stop();
  await rm(web.stateDir, { recursive: true });
  const again = await runRemora({ args: web.args, env: web.env });
  t.equal(again.code, 1);
  t.match(again.err, /^remora: .*join token was made before certificates of its service were revoked/);
  const tokenFile = web.args[web.args.indexOf("--token-file") + 1] ?? "";
  await writeFile(tokenFile, await readFile(await mesh.token("web"), "utf8"));
  web.process = mesh.run(web);
  await until("web is back", async () => (await get(web)).status === 200);
  t.match(await certificates("web"), [
    { state: "active", inUseBy: [/^web\.default-/] },
    { state: "revoked" },
  ]);
});

t.test("a new token in the place of the old one is enough: nothing need be removed", async (t) => {
  const svid = await loadSvid(web.stateDir);
  const { code, err } = await mesh.remora(["cert", "revoke", svid?.serial ?? "", "--reason", "again"]);
  t.equal(code, 0, err);
  await until("web is cut off", async () => (await get(web)).status >= 500);
  await until("web says why", () => /was revoked.*joining anew/.test(web.process.log));
  await web.process.stop();
  const tokenFile = web.args[web.args.indexOf("--token-file") + 1] ?? "";
  await writeFile(tokenFile, await readFile(await mesh.token("web"), "utf8"));
  web.process = mesh.run(web);
  await until("web is back with its old folder", async () => (await get(web)).status === 200);
  t.not((await loadSvid(web.stateDir))?.serial, svid?.serial);
});

t.test("callers do not talk to a service that was evicted, also with the control plane down", async (t) => {
  const evicted = await mesh.remora(["cert", "revoke", "--service", "api", "--reason", "broken into"]);
  t.equal(evicted.code, 0, evicted.err);
  const startMs = clock.monotonicMs();
  await until("other is told", async () => (await get(other)).status >= 500, 1500);
  t.ok(clock.monotonicMs() - startMs < 1500);
  const before = await served();
  await mesh.controlPlaneProcess?.stop();
  await other.process.stop();
  other.process = mesh.run(other);
  await until(
    "other has started from its disk",
    async () => (await call({ port: other.admin, path: "/ready" })).status === 200,
  );
  const answer = await get(other);
  t.ok(answer.status >= 500, `${answer.status} ${answer.error}`);
  t.equal(await served(), before, "it remembers whom not to believe");
});

t.test("what makes no sense is refused in one line", async (t) => {
  await mesh.startControlPlane();
  for (const [args, expected] of [
    [["cert", "revoke", "--reason", "x"], /give one of SERIAL, --service and --node/],
    [["cert", "revoke", "AB", "--service", "web", "--reason", "x"], /give one of/],
    [["cert", "revoke", "AB"], /--reason: is missing/],
    [["cert", "revoke", "AB", "--reason", "x"], /no certificate with serial "AB" is in use/],
    [["cert", "revoke", "--node", "nobody", "--reason", "x"], /no sidecar "nobody" is connected/],
  ] as const) {
    const { code, err } = await mesh.remora(args);
    t.not(code, 0);
    t.match(err, expected);
    t.equal(err.trim().split("\n").length, 1);
  }
  const audit = await mesh.remora(["audit"]);
  t.match(
    audit.out,
    /admin\.token \(admin\) +127\.0\.0\.1 +POST \/v1\/certificates\/revoke +200 .*broken into/,
  );
  const list = await mesh.remora(["cert", "list"]);
  t.match(list.out, /^SERIAL +IDENTITY +STATE +ENDS IN +ISSUED BY +IN USE BY +REASON\n/);
  t.match(list.out, /revoked .*laptop stolen/);
});
