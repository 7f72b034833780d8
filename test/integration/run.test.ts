// # runs beside others
/** `remora run` with real processes: when the application starts, what it can rely on when it stops, and what exit code is told. */
import { existsSync } from "node:fs";
import { rm } from "node:fs/promises";
import path from "node:path";
import t from "tap";
import { startMesh, type Place, type SidecarOptions } from "../support/cli-mesh.js";
import { runRemora, type Finished } from "../support/cli-process.js";
import { call, startLoad } from "../support/http-load.js";
import { machinePace } from "../support/machine-pace.js";
import { until } from "../support/until.js";

const mesh = await startMesh(t);

/** The same place with another command: it is enrolled already, and has a configuration on disk. */
function withCommand({ args }: Place, ...command: readonly string[]): readonly string[] {
  return [...args.slice(0, args.indexOf("--") + 1), ...command];
}

/** A place whose sidecar has run once. */
async function enrolled(options: Omit<SidecarOptions, "command">): Promise<Place> {
  const place = await mesh.place({ ...options, command: ["true"] });
  const first = await runRemora({ args: place.args, env: place.env });
  if (first.code !== 0) throw new Error(`remora run -- true: exit ${first.code}: ${first.err}`);
  return place;
}

t.test("the sidecar lives as long as its application, and tells its exit code", async (t) => {
  const job = await enrolled({ name: "job", service: "job" });
  const run = (...command: readonly string[]): Promise<Finished> =>
    runRemora({ args: withCommand(job, ...command), env: job.env });

  // The best of three, on a machine of the speed it has now: what else it does is not what is measured.
  const took: number[] = [];
  const allowedMs = 1000 * (await machinePace());
  for (let n = 0; n < 3; n++) {
    const done = await run("true");
    t.equal(done.code, 0, done.err);
    took.push(done.tookMs);
  }
  t.ok(Math.min(...took) < allowedMs, `a job that does nothing: ${took.map(Math.round).join(", ")} ms`);

  t.equal((await run("sh", "-c", "exit 7")).code, 7);
  t.equal((await run("sh", "-c", "kill -TERM $$")).code, 128 + 15);
  const missing = await run("no-such-program-here");
  t.equal(missing.code, 127);
  t.match(missing.err, /cannot start no-such-program-here.*no such program/);
  const environment = await run("sh", "-c", 'echo "$REMORA_IDENTITY $HTTP_PROXY"');
  t.match(environment.out, /^spiffe:\/\/mesh\.local\/ns\/default\/svc\/job http:\/\/127\.0\.0\.1:\d+$/m);
});

t.test("the application is not started before the sidecar is ready", async (t) => {
  const place = await enrolled({ name: "late", service: "late" });
  const mark = path.join(mesh.dir, "started");
  // Without the saved configuration, and with a control plane that nobody answers for, it can never be ready.
  await rm(path.join(place.stateDir, "snapshot"));
  const nobody = await mesh.freePort();
  const args = withCommand(place, "touch", mark).map((arg) =>
    arg === mesh.controlPlane ? `127.0.0.1:${nobody}` : arg,
  );
  const failed = await runRemora({ args: withReadyTimeout(args), env: place.env });
  t.equal(failed.code, 1);
  t.match(failed.err, /^remora: --ready-timeout: .*missing: configuration from the control plane/m);
  t.notOk(existsSync(mark), "the application was never started");

  const ready = await runRemora({
    args: withReadyTimeout(withCommand(place, "touch", mark)),
    env: place.env,
  });
  t.equal(ready.code, 0, ready.err);
  t.ok(existsSync(mark), "with its control plane it is");

  const stranger = await mesh.place({
    name: "stranger",
    service: "stranger",
    command: ["touch", `${mark}-2`],
  });
  const unenrolled = stranger.args.map((arg) => (arg === mesh.controlPlane ? `127.0.0.1:${nobody}` : arg));
  const refused = await runRemora({ args: withReadyTimeout(unenrolled), env: stranger.env });
  t.equal(refused.code, 1);
  t.match(
    refused.err.trim().split("\n").at(-1),
    new RegExp(`^remora: control plane 127\\.0\\.0\\.1:${nobody} is unreachable .*--control-plane$`),
  );
  t.notOk(existsSync(`${mark}-2`));
});

function withReadyTimeout(args: readonly string[]): readonly string[] {
  const at = args.indexOf("--");
  return [...args.slice(0, at), "--ready-timeout", "2s", ...args.slice(at)];
}

t.test("an application that is told to stop reaches its upstreams to the last call", async (t) => {
  const [web, api] = await Promise.all([
    mesh.join({ name: "web", service: "web", upstreams: ["api"], env: { FAREWELL: "50" } }),
    mesh.join({ name: "api", service: "api" }),
  ]);
  await mesh.untilKnown(web, "api", [api]);
  const exit = await web.process.stop();
  t.match(web.process.log, /farewell: 0 calls failed/);
  t.same(exit, { code: 0, signal: null });
});

t.test("a stop under load loses no request", async (t) => {
  const [web, shop] = await Promise.all([
    mesh.join({ name: "web-2", service: "web", upstreams: ["shop"] }),
    mesh.join({ name: "shop", service: "shop" }),
  ]);
  await mesh.untilKnown(web, "shop", [shop]);
  const port = web.upstreams.get("shop") ?? 0;
  // Slow requests: some are under way at any moment.
  const load = startLoad(t, 50, (n) => ({ port, path: "/?ms=200", method: "POST", body: `slow-${n}` }));
  await until("requests under way", () => load.sent > 50);
  // Its successor is there before it goes, as in a rolling deployment.
  const next = await mesh.join({ name: "shop-next", service: "shop" });
  await mesh.untilKnown(web, "shop", [shop, next]);
  const exit = await shop.process.stop();
  await mesh.untilKnown(web, "shop", [next]);
  const { sent, failures } = await load.stop();
  t.same(exit, { code: 0, signal: null });
  t.same(failures, [], `${sent} requests`);
});

t.test("what an operator gets wrong is told in one line", async (t) => {
  const place = await enrolled({ name: "taken", service: "taken" });
  const running = await mesh.join({ name: "owner", service: "owner" });
  const oneLine = async (args: readonly string[], expected: RegExp): Promise<void> => {
    const { code, err } = await runRemora({ args, env: place.env });
    t.not(code, 0);
    t.match(err, expected);
    t.equal(err.trim().split("\n").length, 1, err);
  };
  const swap = (from: number, to: number): readonly string[] =>
    place.args.map((arg) => (arg === `${from}` ? `${to}` : arg));
  await oneLine(
    swap(place.inbound, running.inbound),
    /^remora: --inbound: port in use: 127\.0\.0\.1:\d+; stop the process/,
  );
  await oneLine(
    swap(place.admin, running.admin),
    /^remora: --admin: port \d+ on 127\.0\.0\.1 is already in use/,
  );
  await oneLine(["run", "--servise", "x", "--port", "1", "--", "true"], /^remora: .*--servise.*--service/);
  await oneLine(["sidecar", "--service", "x"], /^remora: --port: /);
  await oneLine(
    ["control-plane", "--data-dir", mesh.dataDir],
    /^remora: --data-dir: .* is in use by another control plane/,
  );
  const answer = await call({ port: running.admin, path: "/ready" });
  t.equal(answer.status, 200, "whoever had the port keeps it");
});
