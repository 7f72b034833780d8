// # runs beside others
/** Clocks that disagree, by faketime: a minute does no harm; an hour, with leaves of half an hour, fails closed and names the clock. */
import { spawnSync } from "node:child_process";
import t from "tap";
import { metric, startMesh } from "../support/cli-mesh.js";
import { runRemora } from "../support/cli-process.js";
import { call } from "../support/http-load.js";
import { skipWithout, tool } from "../support/security-tools.js";
import { until } from "../support/until.js";

/** What makes a process believe in another time; its timers run as ever. */
function shifted(seconds: number): Readonly<Record<string, string>> {
  const offset = `${seconds < 0 ? "" : "+"}${seconds}`;
  const { stdout } = spawnSync(tool("faketime"), ["-f", offset, "env"], { encoding: "utf8" });
  const preload = /^LD_PRELOAD=(.*)$/m.exec(stdout)?.[1] ?? "";
  return { LD_PRELOAD: preload, FAKETIME: offset, FAKETIME_DONT_FAKE_MONOTONIC: "1" };
}

t.test("clocks that disagree", { skip: skipWithout("faketime"), timeout: 220_000 }, async (t) => {
  const mesh = await startMesh(t, { controlPlane: ["--leaf-ttl", "30m"] });
  const api = await mesh.join({ name: "api", service: "api" });

  for (const seconds of [60, -60])
    await t.test(`row 55: ${seconds} s: joins, calls and is called`, async (t) => {
      const name = `shift${seconds}`;
      const env = shifted(seconds);
      const upstreams = ["api"];
      const web = await mesh.join({
        name,
        service: `web${Math.abs(seconds)}${seconds < 0 ? "b" : ""}`,
        upstreams,
        env,
      });
      await mesh.untilKnown(web, "api", [api]);
      t.equal((await call({ port: web.upstreams.get("api") ?? 0 })).status, 200, "it calls");
      const back = await mesh.join({ name: `to-${name}`, service: "caller", upstreams: [web.service] });
      await mesh.untilKnown(back, web.service, [web]);
      t.equal((await call({ port: back.upstreams.get(web.service) ?? 0 })).status, 200, "it is called");
      await Promise.all([web.process.stop(), back.process.stop()]);
    });

  for (const [seconds, what] of [
    [3600, "has expired"],
    [-3600, "is not yet valid"],
  ] as const) {
    await t.test(`row 55: ${seconds} s: does not join, and names the clock`, async (t) => {
      const place = await mesh.place({ name: `late${seconds}`, service: "late", command: ["true"] });
      const env = { ...place.env, ...shifted(seconds) };
      const { code, err } = await runRemora({ args: place.args, env });
      t.equal(code, 1);
      t.match(err, new RegExp(`by the clock of this machine its certificate ${what}: compare the clocks`));
      t.equal(err.trim().split("\n").length, 1, err);
    });

    await t.test(
      `row 55: ${seconds} s off after it has joined: no byte passes, and the clock is named`,
      async (t) => {
        const web = await mesh.join({ name: `joined${seconds}`, service: "joined", upstreams: ["api"] });
        await mesh.untilKnown(web, "api", [api]);
        t.equal((await call({ port: web.upstreams.get("api") ?? 0 })).status, 200);
        await web.process.stop();
        const before = await call({ port: api.app, path: "/count" });
        web.process = mesh.start(
          `shifted${seconds}`,
          web.args.map((arg) => arg),
          { ...web.env, ...shifted(seconds) },
        );
        if (seconds > 0) {
          // Its own certificate is over by its clock, and so is the control plane's: it cannot join anew.
          const { code } = await web.process.exited;
          t.equal(code, 1);
          t.match(
            web.process.log,
            /by the clock of this machine its certificate has expired: compare the clocks/,
          );
        } else {
          const answer = await until("an answer of the sidecar", () =>
            call({ port: web.upstreams.get("api") ?? 0 }),
          );
          t.match(answer, { status: 502, error: "upstream_tls_failed" });
          t.match(answer.body, /CERT_NOT_YET_VALID.*compare the clocks of the two machines/);
        }
        t.equal(
          (await call({ port: api.app, path: "/count" })).body,
          before.body,
          "the application saw nothing",
        );
        await web.process.stop();
      },
    );
  }
  t.equal(await metric(api.admin, "remora_certificate_not_served_total"), 0);
});
