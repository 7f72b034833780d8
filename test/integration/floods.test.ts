/** Real processes: one client floods a sidecar, another goes on as if nothing were. */
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import http from "node:http";
import path from "node:path";
import t, { type Test } from "tap";
import { setTimeout as sleep } from "node:timers/promises";
import { loadSvid } from "../../src/identity/svid-file.js";
import type { Http2Limit } from "../../src/http2/limits.js";
import { metric, startMesh, type Running } from "../support/cli-mesh.js";
import type { FloodName } from "../support/flood-attacker.js";
import { call } from "../support/http-load.js";
import { machinePace } from "../support/machine-pace.js";
import { until } from "../support/until.js";

const mesh = await startMesh(t);
const [web, api] = await Promise.all([
  mesh.join({ name: "web", service: "web", upstreams: ["api"] }),
  mesh.join({ name: "api", service: "api" }),
]);
await mesh.untilKnown(web, "api", [api]);
const port = web.upstreams.get("api") ?? 0;
const pace = await machinePace();
const agent = new http.Agent({ keepAlive: true });
t.teardown(() => agent.destroy());

/**
 * Two cores carry both sidecars, both clients, the attacker's handshakes and the application: below this, chance decides.
 * FLOODS_STRICT=1, for a quiet machine, takes the promise by its word.
 */
const isStrict = process.env["FLOODS_STRICT"] !== undefined;
const floorMs = (isStrict ? 5 : 60) * pace;
/** Calm and flood take turns, so that whatever else the machine does meets both. */
const turns = 4;
const turnMs = 200;
/** What a flood does it does each time; chance does not. */
const maxRounds = 4;
const megabyte = 2 ** 20;

interface Latencies {
  readonly tookMs: number[];
  readonly failures: string[];
}

/** Paced requests for so long, through the mesh or past it; notes their latencies, and what was not a 200. */
async function neighbour(
  durationMs: number,
  { tookMs, failures }: Latencies,
  target = { port, agent },
): Promise<void> {
  const pending: Promise<void>[] = [];
  const startMs = performance.now();
  while (performance.now() - startMs < durationMs) {
    const sentMs = performance.now();
    const answered = call(target).then(
      ({ status, error }) => {
        tookMs.push(performance.now() - sentMs);
        if (status !== 200) failures.push(`${status} ${error ?? ""}`);
      },
      (error: unknown) => void failures.push(String(error)),
    );
    pending.push(answered);
    await sleep(4);
  }
  await Promise.all(pending);
}

const p99 = (values: readonly number[]): number =>
  [...values].sort((a, b) => a - b)[Math.floor(values.length * 0.99)] ?? 0;

async function identityFile(): Promise<string> {
  const svid = await loadSvid(web.stateDir);
  const file = path.join(mesh.dir, "attacker.json");
  await writeFile(file, JSON.stringify({ cert: svid?.certChainPem, key: svid?.keyPem }));
  return file;
}

const attacker = path.resolve(import.meta.dirname, "../support/flood-attacker.js");

/** A process that floods, and waits while it is told to. It has the lowest priority: others have machines of their own. */
async function startAttacker(t: Test, args: readonly string[]): Promise<ChildProcess> {
  const child = spawn("nice", ["-n", "19", process.execPath, attacker, ...args], {
    stdio: ["ignore", "ignore", "inherit", "ipc"],
  });
  t.teardown(() => child.kill("SIGKILL"));
  await once(child, "message");
  return child;
}

interface Clients {
  /** Of the neighbour, and of whoever goes past the mesh. */
  readonly through: Latencies;
  readonly past: Latencies;
}

const direct = { port: api.app, agent: new http.Agent({ keepAlive: true }) };
t.teardown(() => direct.agent.destroy());

/** The neighbour; then, on a quiet machine, a client that goes to the application directly: what its queue contributes. */
async function measured(durationMs: number, { through, past }: Clients): Promise<void> {
  await neighbour(durationMs, through);
  if (isStrict) await neighbour(durationMs, past, direct);
}

/** Calm and flood in turns. */
async function inTurns(child: ChildProcess, calm: Clients, flood: Clients): Promise<void> {
  for (let turn = 0; turn < turns; turn++) {
    child.kill("SIGSTOP");
    // What is in the sockets still counts as flood.
    await sleep(20);
    await measured(turnMs, calm);
    child.kill("SIGCONT");
    await measured(turnMs, flood);
  }
}

const none = (): Clients => ({
  through: { tookMs: [], failures: [] },
  past: { tookMs: [], failures: [] },
});

const memory = (sidecar: Running): Promise<number> => metric(sidecar.admin, "process_resident_memory_bytes");

interface Flood {
  readonly kind: FloodName;
  /** What the sidecar that is attacked calls it; absent when it breaks no rule. */
  readonly limit?: Http2Limit;
  /** Goes on while the attacker waits: what is calm is measured before. */
  readonly isLasting?: boolean;
}

const floods: readonly Flood[] = [
  { kind: "rapid_reset", limit: "resets" },
  { kind: "late_reset", limit: "resets" },
  { kind: "provoked_reset", limit: "resets" },
  { kind: "continuation", limit: "continuations" },
  { kind: "ping", limit: "control_frames" },
  { kind: "settings", limit: "control_frames" },
  { kind: "empty_data", limit: "empty_frames" },
  { kind: "window_update", limit: "window_updates" },
  { kind: "hpack_bomb", limit: "head_bytes" },
  { kind: "one_byte_frames", isLasting: true },
  { kind: "slow_read", isLasting: true },
  { kind: "http1_headers" },
  { kind: "http1_resets" },
];
/** With a certificate of the mesh, at the inbound port. */
const inboundFloods: readonly Flood[] = [
  { kind: "rapid_reset", limit: "resets" },
  { kind: "ping", limit: "control_frames" },
  { kind: "hpack_bomb", limit: "head_bytes" },
  { kind: "bad_hpack", limit: "compression_error" },
];

await measured(1500, none());

async function endures(
  t: Test,
  attacked: Running,
  { kind, limit, isLasting = false }: Flood,
  args: readonly string[],
): Promise<void> {
  const labels = { limit: limit ?? "", side: "downstream" };
  const hits = (): Promise<number> => metric(attacked.admin, "remora_http2_limits_total", labels);
  const [hitsBefore, memoryBefore] = [await hits(), await memory(attacked)];
  const before = none();
  if (isLasting) await measured(turns * turnMs, before);
  const child = await startAttacker(t, [kind, ...args]);
  let isWithin = false;
  let isCounted = limit === undefined;
  for (let round = 1; round <= maxRounds && !(isWithin && isCounted); round++) {
    const [calm, flood] = [isLasting ? before : none(), none()];
    if (isLasting) await measured(turns * turnMs, flood);
    else await inTurns(child, calm, flood);
    const failures = [...calm.through.failures, ...flood.through.failures];
    t.strictSame(failures, [], `${flood.through.tookMs.length} requests, all answered`);
    const [calmMs, floodMs] = [p99(calm.through.tookMs), p99(flood.through.tookMs)];
    t.comment(`${kind}: p99 ${floodMs.toFixed(1)} ms, ${calmMs.toFixed(1)} ms without`);
    const [pastCalmMs, pastMs] = [p99(calm.past.tookMs), p99(flood.past.tookMs)];
    if (isStrict)
      t.comment(`${kind}: past the mesh p99 ${pastMs.toFixed(1)} ms, ${pastCalmMs.toFixed(1)} ms without`);
    isWithin ||= floodMs <= Math.max(2 * calmMs, floorMs);
    // A slow attacker reaches the bound only in a later round.
    isCounted ||= (await hits()) > hitsBefore;
  }
  t.ok(isWithin, "p99 at most twice what it is without the flood");
  const grown = ((await memory(attacked)) - memoryBefore) / megabyte;
  child.kill("SIGKILL");
  await once(child, "exit");
  t.ok(grown < 64, `memory grew by ${grown.toFixed(1)} MiB`);
  t.ok(isCounted, `counted as ${limit}`);
  t.ok(web.process.isRunning && api.process.isRunning, "both sidecars are alive");
}

for (const flood of floods) {
  t.test(`${flood.kind} at the outbound port`, (t) => endures(t, web, flood, [`${port}`]));
}

t.test("at the inbound port, with a certificate of the mesh", async (t) => {
  const file = await identityFile();
  for (const flood of inboundFloods) {
    await t.test(flood.kind, (t) => endures(t, api, flood, [`${api.inbound}`, file]));
  }
});

t.test("nothing is left behind", async (t) => {
  for (const sidecar of [web, api]) {
    await until(`${sidecar.name} has no request under way`, async () => {
      return (await metric(sidecar.admin, "envoy_http_downstream_rq_active")) === 0;
    });
  }
  t.equal((await call({ port })).status, 200);
});
