/** Row 61, real processes: every certificate of the mesh is replaced every few seconds under a steady load. ROTATION_SECONDS (20). */
import t from "tap";
import { metric, startMesh } from "../support/cli-mesh.js";
import { call, startLoad } from "../support/http-load.js";
import { until } from "../support/until.js";

const seconds = Number(process.env["ROTATION_SECONDS"] ?? 20);
const lifeSeconds = 6;
const mesh = await startMesh(t, { controlPlane: ["--leaf-ttl", `${lifeSeconds}s`] });
const [api, web] = await Promise.all([
  mesh.join({ name: "api", service: "api" }),
  mesh.join({ name: "web", service: "web", upstreams: ["api"] }),
]);
await mesh.untilKnown(web, "api", [api]);
const port = web.upstreams.get("api") ?? 0;
const renewals = (log: string): number => log.match(/"msg":"certificate renewed"/g)?.length ?? 0;

t.test(
  "row 61: leaves replaced every few seconds under 200 requests/s: none fails",
  { timeout: (seconds + 60) * 1000 },
  async (t) => {
    await until("an answer", async () => (await call({ port })).status === 200);
    const before = [api, web].map(({ process }) => renewals(process.log));
    const load = startLoad(t, 200, (n) => ({
      port,
      method: n % 4 === 0 ? "POST" : "GET",
      body: n % 4 === 0 ? "x" : "",
    }));
    await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
    const { sent, failures } = await load.stop();
    t.same(failures, [], `${sent} requests`);
    t.ok(sent > 190 * seconds, `${sent} requests in ${seconds} s`);
    for (const [at, { process, name, admin }] of [api, web].entries()) {
      const count = renewals(process.log) - (before[at] ?? 0);
      t.ok(count >= Math.floor(seconds / lifeSeconds), `${name}: ${count} renewals`);
      t.equal(await metric(admin, "remora_certificate_not_served_total"), 0, `${name}: each one was served`);
      t.notMatch(process.log, /certificate life: (error|expired)/, `${name}: none was late`);
    }
    t.comment(
      `${sent} requests, ${renewals(api.process.log)} and ${renewals(web.process.log)} renewals, 0 failures`,
    );
  },
);
