// # runs beside others
/** Row 76, real processes: killed again and again, and two copies at one place. */
import { randomUUID } from "node:crypto";
import { readdirSync, utimesSync, writeFileSync } from "node:fs";
import path from "node:path";
import t from "tap";
import { startMesh } from "../support/cli-mesh.js";
import { runRemora } from "../support/cli-process.js";
import { call } from "../support/http-load.js";
import { until } from "../support/until.js";

const mesh = await startMesh(t);
const [api, web] = await Promise.all([
  mesh.join({ name: "api", service: "api" }),
  mesh.join({ name: "web", service: "web", upstreams: ["api"] }),
]);
await mesh.untilKnown(web, "api", [api]);
const port = web.upstreams.get("api") ?? 0;

interface Known {
  readonly sidecars: readonly { readonly service: string }[];
  readonly services: readonly { readonly name: string; readonly instances: readonly unknown[] }[];
}

async function known(): Promise<{ readonly streams: number; readonly instances: number }> {
  const { sidecars } = (await mesh.read("/v1/sidecars")) as Known;
  const { services } = (await mesh.read("/v1/services")) as Known;
  return {
    streams: sidecars.filter(({ service }) => service === "api").length,
    instances: services.find(({ name }) => name === "api")?.instances.length ?? 0,
  };
}

t.test(
  "row 76: SIGKILL in a loop: serves again each time, and stays one node",
  { timeout: 120_000 },
  async (t) => {
    for (let round = 0; round < 8; round++) {
      await api.process.kill();
      api.process = mesh.run(api);
      // Sometimes before it is ready.
      if (round % 3 === 2) continue;
      await until("an answer", async () => (await call({ port })).status === 200);
    }
    await until("an answer", async () => (await call({ port })).status === 200);
    await until("one stream and one instance", async () => {
      const { streams, instances } = await known();
      return streams === 1 && instances === 1;
    });
    const serials = api.process.log.match(/"msg":"certificate renewed"/g);
    t.equal(serials, null, "and no new certificate was needed");
  },
);

t.test("row 76: what a killed process was writing is removed by the next", async (t) => {
  const names = (): readonly string[] => readdirSync(api.stateDir).filter((name) => name.endsWith(".tmp"));
  writeFileSync(path.join(api.stateDir, `svid.pem.${randomUUID()}.tmp`), "half a key", { mode: 0o600 });
  const old = new Date(Date.now() - 3_600_000);
  for (const name of names()) utimesSync(path.join(api.stateDir, name), old, old);
  t.ok(names().length > 0);
  await api.process.kill();
  api.process = mesh.run(api);
  await until("no leftovers", () => !names().some((name) => name.startsWith("svid.pem")));
  await until("an answer", async () => (await call({ port })).status === 200);
});

t.test("row 76: a second copy at the same ports says which, ends, and harms nobody", async (t) => {
  const { code, err } = await runRemora({ args: api.args, env: { ...api.env, PORT: "0" } });
  t.equal(code, 1);
  t.match(err, /^remora: --(inbound|admin): .*(in use|EADDRINUSE|taken)/m);
  t.equal((await call({ port })).status, 200);
  t.same(await known(), { streams: 1, instances: 1 });
});

t.test("row 76: a second control plane on the same folder says so, and the first goes on", async (t) => {
  const { code, err } = await runRemora({
    args: ["control-plane", "--data-dir", mesh.dataDir, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"],
  });
  t.equal(code, 1);
  t.match(err, /^remora: .*control plane/);
  t.equal(err.trim().split("\n").length, 1, err);
  t.equal((await mesh.remora(["check", "--wait", "20s"])).code, 0);
  await mesh.controlPlaneProcess?.kill();
  await mesh.startControlPlane();
  t.pass("the lock of a process that was killed is taken over");
});
