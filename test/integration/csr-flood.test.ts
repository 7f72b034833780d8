/** Row 62: thousands of requests for certificates a second, while others are served. */
import { readFileSync } from "node:fs";
import { spawn } from "node:child_process";
import { once } from "node:events";
import path from "node:path";
import t from "tap";
import { enroll, renew } from "../../src/discovery/enroll.js";
import type { Svid } from "../../src/identity/svid.js";
import { systemClock as clock } from "../../src/time/clock.js";
import { startMesh } from "../support/cli-mesh.js";
import type { FloodOrder, FloodResult } from "../support/csr-flooder.js";

const seconds = 4;
const perSecond = 5000;
const flooder = path.resolve(import.meta.dirname, "../support/csr-flooder.js");

/** Runs the attacker to its end. Its key stands in its arguments: it is one of this test's. */
async function flood(order: FloodOrder): Promise<FloodResult> {
  const child = spawn(process.execPath, [flooder, JSON.stringify(order)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let out = "";
  child.stdout.setEncoding("utf8").on("data", (chunk: string) => (out += chunk));
  await once(child, "close");
  return JSON.parse(out) as FloodResult;
}

/** utime and stime of a process, seconds: proc(5), stat, fields 14 and 15 in ticks of 10 ms. */
function cpuSeconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

const residentMiB = (pid: number): number =>
  Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0) / 1024;

t.test("row 62: 5,000 requests a second are refused, and others are served meanwhile", async (t) => {
  const mesh = await startMesh(t);
  const join = async (service: string): Promise<Svid> => {
    const token = readFileSync(await mesh.token(service), "utf8");
    return enroll({ controlPlane: mesh.controlPlane, token, service, namespace: "default", clock });
  };
  const [evil, web] = [await join("evil"), await join("web")];
  const pid = mesh.controlPlaneProcess?.pid ?? 0;
  const garbage =
    "-----BEGIN CERTIFICATE REQUEST-----\n" + "QUJD".repeat(100) + "\n-----END CERTIFICATE REQUEST-----\n";
  const log = (): readonly string[] =>
    readFileSync(path.join(mesh.dir, "control-plane.log"), "utf8").split("\n");
  const order = { controlPlane: mesh.controlPlane, csrPem: garbage, token: "", seconds, perSecond };
  const { keyPem, certChainPem } = evil;
  const attacks: readonly (readonly [name: string, order: FloodOrder])[] = [
    ["with a certificate", { ...order, key: { keyPem, certChainPem } }],
    ["with a made-up token", { ...order, token: `rmr1.${"A".repeat(43)}.${"ab".repeat(32)}` }],
    ["with nothing", order],
  ];
  for (const [name, attacker] of attacks) {
    const before = { cpu: cpuSeconds(pid), rss: residentMiB(pid), lines: log().length };
    let isOver = false;
    const attack = flood(attacker).finally(() => (isOver = true));
    const waits: number[] = [];
    let current = web;
    while (!isOver) {
      const startMs = clock.monotonicMs();
      current = await renew(current, { controlPlane: mesh.controlPlane, clock });
      waits.push(clock.monotonicMs() - startMs);
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
    const { sent, statuses } = await attack;
    const grown = residentMiB(pid) - before.rss;
    const cpu = (cpuSeconds(pid) - before.cpu) / seconds;
    const lines = log().length - before.lines;
    const slowest = Math.max(...waits).toFixed(0);
    t.comment(
      `${name}: ${(sent / seconds).toFixed(0)} requests/s, ${(cpu * 100).toFixed(0)} % CPU, ${grown.toFixed(0)} MiB more, ` +
        `${lines} log lines, ${waits.length} renewals of another in at most ${slowest} ms, statuses ${JSON.stringify(statuses)}`,
    );
    t.ok(sent > 500 * seconds, `${sent} were sent`);
    t.notOk("0" in statuses, `${name}: not one certificate`);
    t.ok(waits.length >= 2 && Math.max(...waits) < 5000, `${name}: another caller is served`);
    t.ok(grown < 200, `${name}: memory is bounded`);
    t.ok(lines < 20 * (seconds + 2) + 2 * waits.length, `${name}: so is the log`);
  }
  t.ok(
    log().some((line) => line.includes("more refusals, not logged one by one")),
    "the log says how many it left out",
  );
  t.ok(mesh.controlPlaneProcess?.isRunning, "the control plane is there");
  t.ok(await mesh.read("/v1/status"), "and well");
});
