import { mkdir } from "node:fs/promises";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import {
  changeConsul,
  changeEmbedded,
  changingService,
  type EndpointChanges,
} from "../fleet/endpoint-changes.js";
import { Fleet, type Applied } from "../fleet/fleet.js";
import { megabytes, whole } from "../cells.js";
import { median, quantile } from "../median.js";
import { usualScale } from "../options.js";
import { consulVersion, startConsul } from "../planes/consul-agent.js";
import { RemoraMesh, remoraVersion } from "../planes/remora-mesh.js";
import { processUsage } from "../process-usage.js";
import type { Subject, Table } from "../report.js";
import { textOf } from "../rounds.js";
import type { Suite, SuiteContext } from "../suite.js";
import type { Finding, Target } from "../target.js";

/** Of the small fleet, in which the time to the last sidecar is measured. */
const smallCount = 100;
/** What each sidecar of the big fleet calls. */
const upstreamCount = 10;
const setupTimeoutMs = 180_000;
/** Between changes, so that each is one push. */
const pauseMs = 50;
/** After a change, until what it costs the control plane is spent. */
const settleMs = 1500;

const targets: readonly Target[] = [
  ...["Consul", "embedded registry"].map((registry) => ({
    id: registry,
    what: `endpoint change in ${registry === "Consul" ? "Consul" : "the embedded registry"} to the last of ${smallCount} sidecars, p99`,
    against: "",
    bound: { side: "most", value: 200, unit: "ms" } as const,
  })),
  {
    id: "cpu",
    what: "control plane, 1,000 sidecars x 1,000 services, CPU of one endpoint change",
    against: "",
    bound: { side: "most", value: 1, unit: "s" },
  },
  {
    id: "memory",
    what: "control plane, 1,000 sidecars x 1,000 services, peak memory",
    against: "",
    bound: { side: "most", value: 300, unit: "MB" },
  },
  {
    id: "resent",
    what: "unchanged resources sent again to a sidecar by one endpoint change",
    against: "",
    bound: { side: "most", value: 0, unit: "resources" },
  },
];

/** The control plane with many sidecars. */
export const fleet: Suite = {
  name: "fleet",
  title: "Control plane and many sidecars",
  targets,
  planes: [],
  // Endpoint changes in a fleet: 10 per second and round.
  usual: { seconds: 3, roundCount: 3 },
  async run(context) {
    const { processes, progress, seconds, roundCount } = context;
    const findings = new Map<string, Finding>();
    const gaps: string[] = [];
    const subjects: Subject[] = [{ name: "Remora", version: await remoraVersion(processes), note: "" }];
    const changeCount = Math.max(2, Math.round(seconds * roundCount * 10));
    const times: { readonly registry: string; readonly count: number; readonly ms: readonly number[] }[] = [];
    for (const registry of ["embedded registry", "Consul"] as const) {
      progress(`${smallCount} sidecars, ${registry}`);
      try {
        const { ms, count } = await timeToLast(registry, changeCount, context);
        times.push({ registry, count, ms });
        findings.set(registry, {
          value: quantile(ms, 0.99),
          ...(count === smallCount ? {} : { isUnfit: true, why: `${count} sidecars only` }),
        });
        if (registry === "Consul")
          subjects.push({ name: "Consul", version: await consulVersion(processes), note: "" });
      } catch (error) {
        if (processes.isStopped) throw error;
        gaps.push(`${registry}: ${textOf(error).replace(/\s+/g, " ")}`);
      }
    }
    const { serviceCount, sidecarCount } = context;
    progress(`${sidecarCount} sidecars, ${serviceCount} services`);
    const big = await costOfChange(context, Math.max(2, Math.round(seconds * roundCount)));
    const isUsual = serviceCount === usualScale.serviceCount && sidecarCount === usualScale.sidecarCount;
    const unfit = isUsual
      ? {}
      : { isUnfit: true, why: `measured with ${sidecarCount} sidecars and ${serviceCount} services` };
    findings.set("cpu", { value: median(big.changes.map(({ cpuUs }) => cpuUs)) / 1e6, ...unfit });
    findings.set("memory", { value: big.peakRssBytes / 1e6, ...unfit });
    findings.set("resent", { value: median(big.changes.map(({ resent }) => resent)), ...unfit });
    return {
      how:
        `Sidecars are streams of the sidecar's own discovery code (src/discovery), each with an identity and a TLS connection of its own, in a few ` +
        `processes: they check, assemble and acknowledge every snapshot, but open no sockets for traffic. A change is timed from the message to ` +
        `the registry until the last of them has assembled the new snapshot. Each calls ${upstreamCount} services, the changing one among them.`,
      subjects,
      tables: [timesTable(times), costTable(big, context)],
      gaps,
      findings,
      data: { times, big },
      isRemoraMeasured: times.length > 0,
    };
  },
};

/** Milliseconds of each change until the last sidecar had it, in rising order. */
async function timeToLast(
  registry: "Consul" | "embedded registry",
  changeCount: number,
  { dir, processes, sidecarCount, progress }: SuiteContext,
): Promise<{ readonly ms: readonly number[]; readonly count: number }> {
  const own = path.join(dir, registry.replace(" ", "-"));
  await mkdir(own);
  const isConsul = registry === "Consul";
  const consul = isConsul ? await startConsul(own, processes, []) : undefined;
  const mesh = await RemoraMesh.start({
    dir: own,
    processes,
    ...(consul === undefined ? {} : { consul: consul.url }),
  });
  const changes = consul === undefined ? await changeEmbedded(mesh) : changeConsul(consul.url);
  if (isConsul) await changes.next();
  const count = Math.min(smallCount, sidecarCount);
  const sidecars = new Fleet({
    ...{ mesh, processes, count, processCount: 1, isRegistered: !isConsul, isSubscribed: true },
    upstreams: upstreams(count),
    timeoutMs: setupTimeoutMs,
  });
  if (!isConsul) await sidecars.untilRegistered();
  await sidecars.untilApplied();
  await sleep(settleMs);
  const ms: number[] = [];
  for (let n = 0; n < changeCount; n++) {
    const { tookMs } = await oneChange(changes, sidecars);
    ms.push(tookMs);
    await sleep(pauseMs);
  }
  await changes.close();
  await sidecars.stop();
  await mesh.controlPlane.stop();
  await consul?.started.stop();
  ms.sort((a, b) => a - b);
  progress(`  p50 ${whole(quantile(ms, 0.5))} ms, p99 ${whole(quantile(ms, 0.99))} ms`);
  return { ms, count };
}

async function oneChange(
  changes: EndpointChanges,
  sidecars: Fleet,
): Promise<{ readonly tookMs: number; readonly applied: Applied }> {
  sidecars.reset();
  const atNs = await changes.next();
  const applied = await sidecars.untilApplied();
  return { tookMs: Number(applied.atNs - atNs) / 1e6, applied };
}

/** The one that changes, and services of the fleet. */
function upstreams(serviceCount: number): readonly string[] {
  const others = Array.from({ length: Math.min(upstreamCount - 1, serviceCount) }, (_, i) => `s${i}.default`);
  return [`${changingService}.default`, ...others];
}

interface Change {
  readonly tookMs: number;
  /** Of the control plane. */
  readonly cpuUs: number;
  /** Received by all sidecars. */
  readonly bytes: number;
  /** Per sidecar, by type. */
  readonly resources: Readonly<Record<string, number>>;
  /** Resources per sidecar beyond the changed endpoints and the snapshot that binds them. */
  readonly resent: number;
}

interface BigFleet {
  readonly setupSeconds: number;
  /** Of one core, while nothing changes. */
  readonly idleShare: number;
  readonly rssBytes: number;
  readonly peakRssBytes: number;
  /** Received by a sidecar when it connects. */
  readonly firstBytes: number;
  readonly changes: readonly Change[];
}

/** What a change costs a control plane with many sidecars and many services. */
async function costOfChange(
  { dir, processes, sidecarCount, serviceCount, progress }: SuiteContext,
  changeCount: number,
): Promise<BigFleet> {
  const own = path.join(dir, "big");
  await mkdir(own);
  const startMs = performance.now();
  const mesh = await RemoraMesh.start({ dir: own, processes });
  const changes = await changeEmbedded(mesh);
  const shared = { mesh, processes, processCount: 2, timeoutMs: setupTimeoutMs };
  // Services first, so that the sidecars connect to a registry that is complete.
  const services = new Fleet({
    ...{ ...shared, count: serviceCount - 1, isRegistered: true, isSubscribed: false, upstreams: [] },
  });
  await services.untilRegistered();
  progress(`  ${serviceCount} services registered`);
  const sidecars = new Fleet({
    ...{ ...shared, count: sidecarCount, isRegistered: false, isSubscribed: true },
    upstreams: upstreams(serviceCount - 1),
  });
  const first = await sidecars.untilApplied();
  const setupSeconds = (performance.now() - startMs) / 1000;
  progress(`  ${sidecarCount} sidecars connected after ${whole(setupSeconds)} s`);
  await sleep(2 * settleMs);
  const { pid } = mesh.controlPlane;
  const { rssBytes } = processUsage(pid);
  const idleShare = await cpuShare(pid);
  const found: Change[] = [];
  for (let n = 0; n < changeCount; n++) {
    const before = processUsage(pid).cpuUs;
    const fromMs = performance.now();
    const { tookMs, applied } = await oneChange(changes, sidecars);
    await sleep(settleMs);
    // Keeping the connections alive costs as much without a change.
    const keepAliveUs = idleShare * (performance.now() - fromMs) * 1000;
    const cpuUs = Math.max(0, processUsage(pid).cpuUs - before - keepAliveUs);
    const each = (type: string): number => (applied.resources.get(type) ?? 0) / sidecarCount;
    const resources = Object.fromEntries([...applied.resources.keys()].map((type) => [type, each(type)]));
    const total = Object.values(resources).reduce((sum, value) => sum + value, 0);
    found.push({ tookMs, cpuUs, bytes: applied.bytes, resources, resent: total - 2 });
  }
  const { peakRssBytes } = processUsage(pid);
  await changes.close();
  const firstBytes = first.bytes / sidecarCount;
  return { setupSeconds, idleShare, rssBytes, peakRssBytes, firstBytes, changes: found };
}

/** Share of one core that a process takes while nothing changes. */
async function cpuShare(pid: number): Promise<number> {
  const before = processUsage(pid).cpuUs;
  const fromMs = performance.now();
  await sleep(2 * settleMs);
  return (processUsage(pid).cpuUs - before) / 1000 / (performance.now() - fromMs);
}

function timesTable(
  times: readonly { readonly registry: string; readonly count: number; readonly ms: readonly number[] }[],
): Table {
  return {
    title: "Endpoint change to the last sidecar",
    head: ["registry", "sidecars", "changes", "p50 ms", "p99 ms", "slowest ms"],
    rows: times.map(({ registry, count, ms }) => [
      registry,
      ...[count, ms.length, quantile(ms, 0.5), quantile(ms, 0.99), ms.at(-1) ?? 0].map(whole),
    ]),
  };
}

function costTable(
  { setupSeconds, idleShare, rssBytes, peakRssBytes, firstBytes, changes }: BigFleet,
  { sidecarCount, serviceCount }: SuiteContext,
): Table {
  const middle = (value: (change: Change) => number): number => median(changes.map(value));
  const types = [...new Set(changes.flatMap(({ resources }) => Object.keys(resources)))].sort();
  return {
    title: `Control plane with ${sidecarCount} sidecars and ${serviceCount} services`,
    head: ["figure", "value"],
    rows: [
      ["CPU of one endpoint change, s", (middle(({ cpuUs }) => cpuUs) / 1e6).toFixed(2)],
      ["share of one core while nothing changes, %", (idleShare * 100).toFixed(1)],
      ["change to the last sidecar, ms", whole(middle(({ tookMs }) => tookMs))],
      ["memory, MB", megabytes(rssBytes)],
      ["peak memory, MB", megabytes(peakRssBytes)],
      ["bytes to a sidecar when it connects", whole(firstBytes)],
      ["bytes to a sidecar for one change", whole(middle(({ bytes }) => bytes) / sidecarCount)],
      ...types.map((type) => [
        `resources to a sidecar for one change, ${type}`,
        middle(({ resources }) => resources[type] ?? 0).toFixed(2),
      ]),
      ["until all were connected, s", whole(setupSeconds)],
    ],
  };
}
