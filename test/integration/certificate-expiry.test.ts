// # runs beside others
/** Real processes with certificates of seconds: renewed without a failure, and what happens when they cannot be. */
import t from "tap";
import { metric, startMesh } from "../support/cli-mesh.js";
import { call } from "../support/http-load.js";
import { until } from "../support/until.js";

const lifeMs = 12_000;
const mesh = await startMesh(t, { controlPlane: ["--leaf-ttl", `${lifeMs / 1000}s`] });
const [api, web] = await Promise.all([
  mesh.join({ name: "api", service: "api" }),
  mesh.join({ name: "web", service: "web", upstreams: ["api"] }),
]);
await mesh.untilKnown(web, "api", [api]);
const port = web.upstreams.get("api") ?? 0;
const both = [api, web];
const notAfterMs = async (admin: number): Promise<number> =>
  (await metric(admin, "remora_certificate_not_after_seconds")) * 1000;

t.test("a renewal is proven at the listener, and remora check has seen every certificate", async (t) => {
  const [first, serial] = [await notAfterMs(api.admin), /"serial":"([0-9A-F]+)"/];
  await until("a renewal", async () => (await notAfterMs(api.admin)) > first, 30_000);
  await until(
    "the proof that it is served",
    async () => (await metric(api.admin, "remora_certificate_served_delay_seconds")) > 0,
  );
  t.equal(await metric(api.admin, "remora_certificate_not_served_total"), 0);
  t.match(api.process.log, serial);
  const left = await metric(api.admin, "remora_certificate_life_left_ratio");
  t.ok(left > 0 && left <= 1, `${left}`);
  const { code, out } = await mesh.remora(["check", "--wait", "20s"]);
  t.equal(code, 0, out);
  t.match(out, /certificates\n-+\n.*2 sidecars show the certificate that they should/);
  const shown = (await mesh.read("/v1/served-certificates")) as {
    readonly sidecars: readonly { readonly serial: string; readonly service: string }[];
  };
  t.same(shown.sidecars.map(({ service }) => service).sort(), ["api.default", "web.default"]);
});

t.test("without renewal: served until the end, loud at 40 % and 15 %, then closed and said so", async (t) => {
  await mesh.controlPlaneProcess?.stop();
  const ends = await Promise.all(both.map(({ admin }) => notAfterMs(admin)));
  const firstEndMs = Math.min(...ends);
  let served = 0;
  while (Date.now() < firstEndMs - 200) {
    const { status } = await call({ port });
    if (Date.now() < firstEndMs) t.equal(status, 200, `${firstEndMs - Date.now()} ms before the end`);
    served++;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  t.ok(served > 0);
  for (const { process, name } of both) {
    await until(
      `${name} says that it has expired`,
      () => process.log.includes("certificate life: expired"),
      30_000,
    );
    t.match(process.log, /"level":"warn","msg":"certificate life: warning; renewal has not succeeded"/, name);
    t.match(process.log, /"level":"error","msg":"certificate life: error; renewal has not succeeded"/, name);
    t.match(process.log, /"level":"warn","msg":"certificate renewal failed"/, name);
  }
  for (const { admin } of both) {
    t.equal(await metric(admin, "remora_certificate_life_left_ratio"), 0);
    t.ok((await metric(admin, "remora_certificate_renewal_failures_total")) > 0);
  }
  const before = Number(JSON.parse((await call({ port: api.app, path: "/count" })).body).served);
  const answer = await call({ port, method: "POST", path: "/late", body: "late" });
  t.match(answer, { status: 502, error: "upstream_tls_failed" }, "closed: connections that were open, too");
  const after = Number(JSON.parse((await call({ port: api.app, path: "/count" })).body).served);
  t.equal(after, before, "the application saw nothing");
});
