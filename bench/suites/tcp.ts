import net from "node:net";
import path from "node:path";
import { ratioText, whole } from "../cells.js";
import { freePorts } from "../free-ports.js";
import { runTcpLoad, type TcpResult, type TcpRun } from "../load/tcp-run.js";
import { median } from "../median.js";
import { measureUnder, type Measured, type PairUsage } from "../pair-usage.js";
import { consulProxy } from "../planes/consul-proxy.js";
import { haproxyTcp } from "../planes/haproxy.js";
import { remoraPlane } from "../planes/remora.js";
import { untilReady, type Processes, type Started } from "../processes.js";
import type { Table } from "../report.js";
import { sideFigures, type SideFigures } from "../request-figures.js";
import { figuresOf, gapsOf, inTurns, rowOf, shown, startPlanes, type Row } from "../rounds.js";
import { chosenPlanes, type Suite } from "../suite.js";
import { ratio, type Finding, type Target } from "../target.js";

export const tcpMessageBytes = 64 * 1024;
const readyTimeoutMs = 60_000;
const remora = remoraPlane({ protocol: "tcp" });

/** Kinds of work: messages on several connections, bulk on two. */
export const tcpWorks = [
  { kind: "messages", connections: 16, text: "64 KiB messages" },
  { kind: "bulk", connections: 2, text: "bulk" },
] as const;
type Kind = (typeof tcpWorks)[number]["kind"];

type TcpRound = Readonly<Record<Kind, Measured<TcpResult>>>;

interface WorkFigures {
  readonly outbound: SideFigures;
  readonly inbound: SideFigures;
  readonly mibPerSecond: number;
  readonly p50Us: number;
  readonly p99Us: number;
}

type TcpFigures = Readonly<Record<Kind, WorkFigures>>;

const targets: readonly Target[] = tcpWorks.flatMap(({ kind, text }) =>
  ["outbound", "inbound"].map((side) => ({
    id: `${kind} ${side}`,
    what: `raw TCP, ${text}, CPU per MiB, ${side}`,
    against: consulProxy.name,
    bound: { side: "most", value: 1, unit: "x" },
  })),
);

/** Raw TCP: messages there and back, and one direction without a pause. */
export const tcp: Suite = {
  name: "tcp",
  title: "Raw TCP through two sidecars",
  targets,
  planes: [remora, haproxyTcp, consulProxy],
  usual: { seconds: 3, roundCount: 3 },
  async run(context) {
    const { processes, seconds, roundCount } = context;
    const appPort = await startTcpApp(processes);
    const planes = chosenPlanes(tcp, context.only);
    const entries = await startPlanes<TcpRound>(planes, { ...context, appPort, untilServing: untilEchoing });
    await inTurns(
      entries,
      roundCount,
      context,
      async (pair) => {
        const one = async ({
          kind,
          connections,
        }: (typeof tcpWorks)[number]): Promise<Measured<TcpResult>> => {
          const run: TcpRun = { port: pair.port, connections, seconds, messageBytes: tcpMessageBytes, kind };
          await runTcpLoad({ ...run, seconds: seconds / 3 }, processes);
          return measureUnder(pair, seconds, () => runTcpLoad(run, processes));
        };
        return { messages: await one(tcpWorks[0]), bulk: await one(tcpWorks[1]) };
      },
      ({ messages, bulk }) =>
        [messages, bulk]
          .map(({ load, outbound, inbound }) =>
            [outbound, inbound].map(({ cpuUs }) => whole(cpuUs / mibOf(load))).join(" + "),
          )
          .join(" and ") + " us CPU per MiB",
    );
    const rows = entries.map((entry) => rowOf(entry, summarize, invalidity));
    return {
      how:
        `A load in a Node process -> outbound -> mTLS 1.3 -> inbound -> application in a Node process, the same for all. Messages: 64 KiB there and back ` +
        `on ${tcpWorks[0].connections} connections, both directions count. Bulk: one direction on ${tcpWorks[1].connections} connections. ` +
        `${seconds} s each, ${roundCount} rounds; connections are opened anew for each run.`,
      subjects: rows.map(({ name, version, note }) => ({ name, version, note })),
      tables: tcpWorks.map(({ kind, text }) => table(rows, kind, text)),
      gaps: gapsOf(rows),
      findings: findings(rows),
      data: rows,
      isRemoraMeasured: figuresOf(rows, remora.name) !== undefined,
    };
  },
};

/** The application of this suite; resolves with its port. */
export async function startTcpApp(processes: Processes): Promise<number> {
  const [appPort = 0] = await freePorts(1);
  const script = path.join(import.meta.dirname, "../apps/tcp-app.js");
  const app = processes.start("tcp-app", process.execPath, [script, `${appPort}`]);
  await untilEchoing(appPort, [app]);
  return appPort;
}

/** Waits until a byte comes back through the port. */
export function untilEchoing(port: number, processes: readonly Started[]): Promise<void> {
  return untilReady(
    processes,
    readyTimeoutMs,
    () =>
      new Promise((resolve, reject) => {
        const socket = net.connect({ port, host: "127.0.0.1" }, () => socket.write("e!"));
        socket.setTimeout(2000, () => socket.destroy(new Error("no echo within two seconds")));
        socket.once("data", () => {
          socket.destroy();
          resolve();
        });
        socket.once("error", reject);
        socket.once("close", () => reject(new Error("closed without an echo")));
      }),
  );
}

function mibOf({ bytes }: TcpResult): number {
  return Math.max(1, bytes) / 2 ** 20;
}

function summarize(rounds: readonly TcpRound[], idle: PairUsage): TcpFigures {
  const work = (kind: Kind): WorkFigures => {
    const measured = rounds.map((round) => round[kind]);
    const middle = (value: (load: TcpResult) => number): number =>
      median(measured.map(({ load }) => value(load)));
    return {
      outbound: sideFigures(measured, idle, "outbound", mibOf),
      inbound: sideFigures(measured, idle, "inbound", mibOf),
      mibPerSecond: middle((load) => (mibOf(load) * 1e6) / load.durationUs),
      p50Us: middle(({ p50Us }) => p50Us),
      p99Us: middle(({ p99Us }) => p99Us),
    };
  };
  return { messages: work("messages"), bulk: work("bulk") };
}

function invalidity(_figures: TcpFigures, rounds: readonly TcpRound[]): string | undefined {
  for (const round of rounds)
    for (const { kind, text } of tcpWorks) {
      const { errors, bytes } = round[kind].load;
      if (errors > 0) return `${text}: ${errors} connections failed`;
      if (bytes === 0) return `${text}: nothing was carried`;
    }
  return undefined;
}

type Rows = readonly Row<TcpFigures, TcpRound>[];

function findings(rows: Rows): ReadonlyMap<string, Finding> {
  const own = figuresOf(rows, remora.name);
  const peer = figuresOf(rows, consulProxy.name);
  return new Map(
    tcpWorks.flatMap(({ kind }) =>
      (["outbound", "inbound"] as const).map((side) => [
        `${kind} ${side}`,
        { value: ratio(own?.[kind][side].cpuUsPerUnit, peer?.[kind][side].cpuUsPerUnit) },
      ]),
    ),
  );
}

function table(rows: Rows, kind: Kind, text: string): Table {
  const sum = ({ outbound, inbound }: WorkFigures): number => outbound.cpuUsPerUnit + inbound.cpuUsPerUnit;
  const peers = [consulProxy.name, haproxyTcp.name];
  return {
    title: text,
    head: [
      ...["data plane", "out us/MiB", "in us/MiB", ...peers.map((name) => `x ${name}`), "MiB/s"],
      ...(kind === "messages" ? ["p50 us", "p99 us"] : []),
    ],
    rows: shown(rows).map(([name, figures]) => {
      const f = figures[kind];
      return [
        name,
        whole(f.outbound.cpuUsPerUnit),
        whole(f.inbound.cpuUsPerUnit),
        ...peers.map((peer) => {
          const other = figuresOf(rows, peer)?.[kind];
          return ratioText(ratio(sum(f), other && sum(other)));
        }),
        whole(f.mibPerSecond),
        ...(kind === "messages" ? [whole(f.p50Us), whole(f.p99Us)] : []),
      ];
    }),
  };
}
