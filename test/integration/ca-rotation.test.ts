/** Real processes under steady load while leaves are renewed every few seconds and the CA is replaced. */
import { readFile } from "node:fs/promises";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import t from "tap";
import type { RotationView } from "../../control-plane/ca/rotate.js";
import { readAdmin, startMesh, type CliMesh, type Place } from "../support/cli-mesh.js";
import { runRemora } from "../support/cli-process.js";
import { startLoad } from "../support/http-load.js";
import { until } from "../support/until.js";

/** REMORA_CA_ROTATION_MINUTES=5 is the proof of the releases; without it the CA is replaced twice. */
const minutes = Number(process.env["REMORA_CA_ROTATION_MINUTES"] ?? 0);

async function view(mesh: CliMesh): Promise<RotationView> {
  return (await mesh.read("/v1/ca")) as RotationView;
}

async function step(mesh: CliMesh, ...flags: readonly string[]): Promise<RotationView> {
  const { code, out, err } = await mesh.remora(["ca", "rotate", "--output", "json", ...flags]);
  if (code !== 0) throw new Error(`remora ca rotate ${flags.join(" ")}: exit ${code}: ${err}`);
  return JSON.parse(out) as RotationView;
}

async function untilStep(mesh: CliMesh, wanted: RotationView["step"]): Promise<void> {
  await until(`the rotation is ${wanted}`, async () => (await view(mesh)).step === wanted);
}

async function serial(place: Place): Promise<unknown> {
  const { certificates } = (await readAdmin(place.admin, "/certs")) as {
    certificates: readonly { cert_chain: readonly { serial_number: string }[] }[];
  };
  return certificates[0]?.cert_chain[0]?.serial_number;
}

t.setTimeout(180_000 + minutes * 60_000);

t.test("no request fails while leaves and the CA are replaced, step by step", async (t) => {
  const mesh = await startMesh(t, { controlPlane: ["--leaf-ttl", "8s"] });
  const [web, api1, api2, idle] = await Promise.all([
    mesh.join({ name: "web", service: "web", upstreams: ["api"] }),
    mesh.join({ name: "api-1", service: "api" }),
    mesh.join({ name: "api-2", service: "api", flags: ["--workers", "2"] }),
    mesh.join({ name: "idle", service: "idle" }),
  ]);
  await mesh.untilKnown(web, "api", [api1, api2]);
  const first = await view(mesh);
  t.match(first, { step: "idle", lagging: [], sidecars: 4, next: null, previous: null });
  const oldToken = await mesh.token("late");
  const port = web.upstreams.get("api") ?? 0;
  const load = startLoad(t, 200, (n) =>
    n % 2 === 0 ? { port, path: "/x" } : { port, path: "/", method: "POST", body: `post-${n}` },
  );
  const serials = new Set([await serial(web)]);

  // Stopped, it says nothing of the new CA: the rotation waits for it, by name.
  const stopped = idle.process;
  stopped.signal("SIGSTOP");
  const prepared = await step(mesh);
  t.not(prepared.next?.rootFingerprint, first.active.rootFingerprint);
  await until("all others have the new root", async () => (await view(mesh)).lagging.length === 1);
  const early = await mesh.remora(["ca", "rotate", "--activate"]);
  t.equal(early.code, 1);
  t.match(
    early.err,
    /1 connected sidecars would refuse certificates of the new CA \(idle\.default-.*has (?:the older|no) trust bundle/,
  );
  t.equal((await view(mesh)).step, "prepared");
  stopped.signal("SIGCONT");
  await untilStep(mesh, "distributed");

  const active = await step(mesh, "--activate");
  t.equal(active.active.rootFingerprint, prepared.next?.rootFingerprint);
  t.equal(active.previous?.rootFingerprint, first.active.rootFingerprint);
  const late = await mesh.place({ name: "late", service: "late" });
  const lateArgs = late.args.map((arg, n) => (late.args[n - 1] === "--token-file" ? oldToken : arg));
  const joined = mesh.start("late", lateArgs, late.env);
  await untilStep(mesh, "renewed");
  await until(
    "a token from before is good while its root is believed",
    async () => (await view(mesh)).sidecars === 5 && joined.isRunning,
  );

  // Killed between two steps, the control plane goes on where it was.
  const before = mesh.controlPlaneProcess;
  before?.signal("SIGKILL");
  await before?.exited;
  await mesh.startControlPlane();
  t.equal((await view(mesh)).active.rootFingerprint, active.active.rootFingerprint);
  await until("all are back", async () => (await view(mesh)).sidecars === 5);
  await untilStep(mesh, "renewed");
  const finished = await step(mesh, "--finish");
  t.match(finished, { step: "idle", previous: null, next: null });
  t.equal(finished.active.rootFingerprint, active.active.rootFingerprint);
  const bundle = await readFile(path.join(mesh.dataDir, "ca", "root.crt"), "utf8");
  await until("web believes the new root only", async () => {
    const svid = await readFile(path.join(web.stateDir, "svid.pem"), "utf8");
    return svid.endsWith(`# trust bundle\n${bundle.trim()}\n`);
  });
  serials.add(await serial(web));

  const endMs = Date.now() + minutes * 60_000;
  do {
    const done = await step(mesh, "--auto");
    t.match(done, { step: "idle" });
    serials.add(await serial(web));
  } while (Date.now() < endMs);
  await sleep(1000);
  const result = await load.stop();
  t.same(result.failures.slice(0, 20), [], `${result.sent} requests`);
  t.ok(serials.size >= 3, `${serials.size} certificates of web`);
  t.ok(result.sent > 1000, `${result.sent} requests`);

  const tooLate = await mesh.place({ name: "too-late", service: "late" });
  const args = tooLate.args.map((arg, n) => (tooLate.args[n - 1] === "--token-file" ? oldToken : arg));
  const refused = await runRemora({ args, env: tooLate.env });
  t.match(refused.err, /does not belong to this join token/);
});
