import os from "node:os";
import { startApp } from "../apps/static-app.js";
import { ratioText, whole } from "../cells.js";
import type { Pair } from "../data-plane.js";
import { chooseHttpLoad } from "../load/http-load.js";
import type { LoadResult } from "../load/load-result.js";
import { median } from "../median.js";
import { measureUnder, type Measured } from "../pair-usage.js";
import { remoraPlane } from "../planes/remora.js";
import { replyBytes, untilServing } from "../probe.js";
import { cpuByProcess } from "../process-usage.js";
import { describeRound, invalidityOf, requestFigures, type RequestFigures } from "../request-figures.js";
import { figuresOf, gapsOf, inTurns, rowOf, shown, startPlanes } from "../rounds.js";
import type { Suite } from "../suite.js";
import { ratio, type Target } from "../target.js";

const connections = 64;
const one = remoraPlane({ name: "Remora with 1 worker" });
const two = remoraPlane({ name: "Remora with 2 workers", workers: 2 });
/** Two workers on each side, the load, and the application. */
const neededCores = 6;
const least = 1.7;

const targets: readonly Target[] = [
  {
    id: "throughput",
    what: "throughput with 2 workers",
    against: one.name,
    bound: { side: "least", value: least, unit: "x" },
  },
  {
    id: "capacity",
    what: "requests per CPU second of the busiest process, 2 workers",
    against: one.name,
    bound: { side: "least", value: least, unit: "x" },
  },
];

interface WorkersRound extends Measured<LoadResult> {
  /** CPU microseconds per request of the busiest process of the busier side. */
  readonly busiestUs: number;
}

interface WorkersFigures extends RequestFigures {
  readonly busiestUs: number;
}

/** What a second worker is good for. */
export const workers: Suite = {
  name: "workers",
  title: "Workers",
  targets,
  planes: [],
  usual: { seconds: 4, roundCount: 3 },
  async run(context) {
    const { dir, processes, seconds, roundCount } = context;
    const load = await chooseHttpLoad(dir, seconds, processes);
    const app = await startApp(dir, processes);
    const entries = await startPlanes<WorkersRound>([one, two], {
      ...context,
      appPort: app.port,
      untilServing,
    });
    await inTurns(
      entries,
      roundCount,
      context,
      async (pair) => {
        const { port } = pair;
        await load.run({ port, connections, seconds: seconds / 2 });
        const before = cpuOfAll(pair);
        const measured = await measureUnder(pair, seconds, () => load.run({ port, connections, seconds }));
        const spent = [...cpuOfAll(pair)].map(([pid, cpuUs]) => cpuUs - (before.get(pid) ?? 0));
        return { ...measured, busiestUs: Math.max(...spent) / Math.max(1, measured.load.requests) };
      },
      describeRound,
    );
    const rows = entries.map((entry) =>
      rowOf(
        entry,
        (rounds, idle): WorkersFigures => ({
          ...requestFigures(rounds, idle),
          busiestUs: median(rounds.map(({ busiestUs }) => busiestUs)),
        }),
        (figures, rounds) => invalidityOf(figures, rounds, replyBytes),
      ),
    );
    const [single, double] = [figuresOf(rows, one.name), figuresOf(rows, two.name)];
    const cores = os.availableParallelism();
    const isFree = cores >= neededCores;
    return {
      how:
        `HTTP/1.1, ${connections} connections for ${seconds} s, both sidecars with one and with two workers, ${roundCount} rounds. ` +
        (isFree
          ? `${cores} cores.`
          : `The cores were NOT FREE: ${cores} of them carry load, application and both sidecars, and ${neededCores} would be needed. So throughput cannot ` +
            `double here; what can be seen is whether the workers share the work, and what it costs.`),
      subjects: rows.map(({ name, version, note }) => ({ name, version, note })),
      tables: [
        {
          title: "",
          head: [
            ...["data plane", "req/s", "x 1 worker", "out us/req", "in us/req"],
            ...["busiest process us/req", "p50 us", "p99 us"],
          ],
          rows: shown(rows).map(([name, f]) => [
            name,
            whole(f.requestsPerSecond),
            ratioText(ratio(f.requestsPerSecond, single?.requestsPerSecond)),
            f.outbound.cpuUsPerUnit.toFixed(1),
            f.inbound.cpuUsPerUnit.toFixed(1),
            f.busiestUs.toFixed(1),
            whole(f.p50Us),
            whole(f.p99Us),
          ]),
        },
      ],
      gaps: gapsOf(rows),
      findings: new Map([
        [
          "throughput",
          {
            value: ratio(double?.requestsPerSecond, single?.requestsPerSecond),
            ...(isFree ? {} : { isUnfit: true, why: `${cores} cores, all in use: not 2 free ones` }),
          },
        ],
        [
          "capacity",
          {
            value: ratio(single?.busiestUs, double?.busiestUs),
            why: "what 2 free cores would allow: a process can use one core",
          },
        ],
      ]),
      data: rows,
      isRemoraMeasured: double !== undefined,
    };
  },
};

function cpuOfAll({ outboundPid, inboundPid }: Pair): ReadonlyMap<number, number> {
  return new Map([...cpuByProcess(outboundPid), ...cpuByProcess(inboundPid)]);
}
