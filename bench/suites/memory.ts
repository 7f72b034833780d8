import { mkdir } from "node:fs/promises";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { startApp } from "../apps/static-app.js";
import { megabytes } from "../cells.js";
import type { DataPlane, Pair, Surroundings } from "../data-plane.js";
import { Fleet } from "../fleet/fleet.js";
import { freePorts } from "../free-ports.js";
import { chooseHttpLoad } from "../load/http-load.js";
import type { LoadResult } from "../load/load-result.js";
import { usualScale } from "../options.js";
import { measureUnder, pairUsage, type Measured, type PairUsage } from "../pair-usage.js";
import { consulProxy } from "../planes/consul-proxy.js";
import { haproxy } from "../planes/haproxy.js";
import { RemoraMesh, remoraVersion } from "../planes/remora-mesh.js";
import { untilServing } from "../probe.js";
import { figuresOf, gapsOf, inTurns, rowOf, shown, startPlanes } from "../rounds.js";
import { chosenPlanes, type Suite, type SuiteContext } from "../suite.js";
import type { Target } from "../target.js";

const connections = 512;
const setupTimeoutMs = 120_000;
/** What was used while starting is given back, as far as it ever is. */
const settleMs = 3000;

interface MemoryFigures {
  readonly idle: PairUsage;
  /** In the middle of the run. */
  readonly underLoad: { readonly outbound: number; readonly inbound: number };
  readonly peak: { readonly outbound: number; readonly inbound: number };
  readonly errors: number;
}

const kinds = [
  { id: "few", name: "Remora", what: "1,000 services in the registry, 3 upstreams" },
  { id: "all", name: "Remora, every service", what: "1,000 services known to the sidecar" },
] as const;

const targets: readonly Target[] = kinds.flatMap(({ id, what }): Target[] => [
  {
    id: `${id} idle`,
    what: `RSS of the outbound sidecar, idle, ${what}`,
    against: "",
    bound: { side: "most", value: 70, unit: "MB" },
  },
  {
    id: `${id} load`,
    what: `RSS of the busier sidecar, ${connections} connections, ${what}`,
    against: "",
    bound: { side: "most", value: 130, unit: "MB" },
  },
]);

/** Memory of sidecars in a mesh with many services. */
export const memory: Suite = {
  name: "memory",
  title: "Memory",
  targets,
  planes: [haproxy, consulProxy],
  usual: { seconds: 4, roundCount: 1 },
  async run(context) {
    const { dir, processes, seconds, roundCount, serviceCount, progress } = context;
    const load = await chooseHttpLoad(dir, seconds, processes);
    const app = await startApp(dir, processes);
    const mesh = await startMesh(context, app.port);
    progress(`${serviceCount} services registered`);
    const own = kinds.map(({ id, name }) => sidecarPlane(mesh, id, name));
    const planes = [...own, ...chosenPlanes(memory, context.only)];
    const entries = await startPlanes<Measured<LoadResult>>(planes, {
      ...context,
      appPort: app.port,
      untilServing,
    });
    await sleep(settleMs);
    for (const entry of entries) if (entry.pair !== undefined) entry.idle = pairUsage(entry.pair);
    await inTurns(
      entries,
      roundCount,
      context,
      (pair) => measureUnder(pair, seconds, () => load.run({ ...pair, connections, seconds, host: "api" })),
      ({ outbound, inbound }) => `${megabytes(outbound.rssBytes)} + ${megabytes(inbound.rssBytes)} MB`,
    );
    const rows = entries.map((entry) => rowOf(entry, summarize, invalidity));
    const isUsual = serviceCount === usualScale.serviceCount;
    const unfit = isUsual ? {} : { isUnfit: true, why: `measured with ${serviceCount} services` };
    return {
      how:
        `${serviceCount} services registered with the embedded registry, each on a stream of its own. Idle: ${settleMs / 1000} s after the start, before any request. Under load: ` +
        `${connections} connections for ${seconds} s; VmRSS in the middle, VmHWM at the end. MB are 10^6 bytes. The first two rows share the inbound ` +
        `sidecar, so that the second row's inbound side is not idle any more. HAProxy and consul proxy know one service.`,
      subjects: [
        { name: "Remora", version: await remoraVersion(processes), note: "" },
        ...rows.slice(own.length).map(({ name, version, note }) => ({ name, version, note })),
      ],
      tables: [
        {
          title: "",
          head: ["data plane", "idle MB, out + in", "under load MB", "peak MB"],
          rows: shown(rows).map(([name, f]) => [
            name,
            both({ outbound: f.idle.outbound.rssBytes, inbound: f.idle.inbound.rssBytes }),
            both(f.underLoad),
            both(f.peak),
          ]),
        },
      ],
      gaps: gapsOf(rows),
      findings: new Map(
        kinds.flatMap(({ id, name }) => {
          const figures = figuresOf(rows, name);
          const busier = figures && Math.max(figures.underLoad.outbound, figures.underLoad.inbound) / 1e6;
          const idle = figures && figures.idle.outbound.rssBytes / 1e6;
          return [
            [`${id} idle`, { value: idle, ...unfit }] as const,
            [`${id} load`, { value: busier, ...unfit }] as const,
          ];
        }),
      ),
      data: rows,
      isRemoraMeasured: kinds.every(({ name }) => figuresOf(rows, name) !== undefined),
    };
  },
};

interface FullMesh {
  readonly mesh: RemoraMesh;
  readonly inboundPid: number;
}

/** A control plane whose registry is full, and one sidecar that is called. */
async function startMesh(context: SuiteContext, appPort: number): Promise<FullMesh> {
  const { dir, processes, serviceCount } = context;
  const own = path.join(dir, "mesh");
  await mkdir(own);
  const mesh = await RemoraMesh.start({ dir: own, processes });
  const services = new Fleet({
    ...{ mesh, processes, count: serviceCount - 1, processCount: 2 },
    ...{ isRegistered: true, isSubscribed: false, upstreams: [], timeoutMs: setupTimeoutMs },
  });
  await services.untilRegistered();
  const api = await mesh.sidecar("api", { appPort, flags: [] });
  await api.untilOutput("sidecar ready", setupTimeoutMs);
  return { mesh, inboundPid: api.pid };
}

/** A calling sidecar: with a few upstreams, or with the port that routes by name to every service there is. */
function sidecarPlane({ mesh, inboundPid }: FullMesh, id: "few" | "all", name: string): DataPlane {
  return {
    name,
    note: "",
    version: remoraVersion,
    async start({ appPort, untilServing: untilUp }: Surroundings): Promise<Pair> {
      const [port = 0] = await freePorts(1);
      const few = ["--upstream", `api:${port}`, "--upstream", "s1:0", "--upstream", "s2:0"];
      const web = await mesh.sidecar("web", {
        appPort,
        stateName: id,
        flags: id === "few" ? few : ["--outbound", `${port}`],
      });
      await untilUp(port, [web]);
      return { port, outboundPid: web.pid, inboundPid };
    },
  };
}

function summarize(rounds: readonly Measured<LoadResult>[], idle: PairUsage): MemoryFigures {
  const most = (side: "outbound" | "inbound", key: "rssBytes" | "peakRssBytes"): number =>
    Math.max(...rounds.map((round) => round[side][key]));
  const both = (key: "rssBytes" | "peakRssBytes"): MemoryFigures["peak"] => ({
    outbound: most("outbound", key),
    inbound: most("inbound", key),
  });
  return {
    idle,
    underLoad: both("rssBytes"),
    peak: both("peakRssBytes"),
    errors: rounds.reduce((sum, { load }) => sum + load.errors, 0),
  };
}

function invalidity({ errors }: MemoryFigures): string | undefined {
  return errors > 0 ? `${errors} requests failed` : undefined;
}

function both({ outbound, inbound }: { readonly outbound: number; readonly inbound: number }): string {
  return `${megabytes(outbound)} + ${megabytes(inbound)}`;
}
