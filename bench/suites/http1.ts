import { startApp } from "../apps/static-app.js";
import { mib, ratioText, whole } from "../cells.js";
import { chooseHttpLoad } from "../load/http-load.js";
import type { LoadResult } from "../load/load-result.js";
import { median } from "../median.js";
import { measureUnder, type Measured, type PairUsage } from "../pair-usage.js";
import { consulProxy } from "../planes/consul-proxy.js";
import { haproxy, haproxyHttp2Hop } from "../planes/haproxy.js";
import { httpProxy } from "../planes/http-proxy.js";
import { nginx } from "../planes/nginx.js";
import { remoraPlane } from "../planes/remora.js";
import { replyBytes, untilServing } from "../probe.js";
import type { Table } from "../report.js";
import {
  cpuOf,
  describeRound,
  invalidityOf,
  requestFigures,
  type RequestFigures,
  type SideFigures,
} from "../request-figures.js";
import { figuresOf, gapsOf, inTurns, rowOf, shown, startPlanes, type Row } from "../rounds.js";
import { chosenPlanes, type Suite } from "../suite.js";
import { ratio, type Finding, type Target } from "../target.js";

const connections = 64;
const remora = remoraPlane();

/** One round of one data plane. */
export interface Http1Round extends Measured<LoadResult> {
  /** One connection. */
  readonly single: LoadResult;
  /** One connection straight to the application, right after. */
  readonly direct: LoadResult;
}

export interface Http1Figures extends RequestFigures {
  /** With one connection. */
  readonly singleP50Us: number;
  /** The same, less what the application itself takes. */
  readonly addedP50Us: number;
}

const targets: readonly Target[] = [
  ...(["outbound", "inbound"] as const).flatMap((side): Target[] => [
    {
      id: `${side} HAProxy`,
      what: `HTTP/1.1, ${connections} connections, CPU per request, ${side}`,
      against: "HAProxy",
      bound: { side: "most", value: 1, unit: "x" },
    },
    {
      id: `${side} http-proxy`,
      what: `HTTP/1.1, ${connections} connections, CPU per request, ${side}`,
      against: "http-proxy",
      bound: { side: "most", value: 0.25, unit: "x" },
    },
  ]),
  {
    id: "added p50",
    what: "HTTP/1.1, 1 connection, p50 added by both sidecars",
    against: "HAProxy",
    bound: { side: "most", value: 1.3, unit: "x" },
  },
];

/** HTTP/1.1 at client and application: many connections, then one. */
export const http1: Suite = {
  name: "http1",
  title: "HTTP/1.1 through two sidecars",
  targets,
  planes: [remora, haproxy, haproxyHttp2Hop, nginx, consulProxy, httpProxy],
  usual: { seconds: 4, roundCount: 3 },
  async run(context) {
    const { dir, processes, seconds, roundCount } = context;
    const load = await chooseHttpLoad(dir, seconds, processes);
    const app = await startApp(dir, processes);
    const planes = chosenPlanes(http1, context.only);
    const entries = await startPlanes<Http1Round>(planes, { ...context, appPort: app.port, untilServing });
    const measure = async ({ port, ...pair }: Parameters<typeof measureUnder>[0]): Promise<Http1Round> => {
      // Code gets compiled and pools filled before anything counts.
      await load.run({ port, connections, seconds: seconds / 2 });
      const many = await measureUnder({ port, ...pair }, seconds, () =>
        load.run({ port, connections, seconds }),
      );
      const single = await load.run({ port, connections: 1, seconds: seconds / 2 });
      // Right after it, so that both saw the machine in the same state.
      const direct = await load.run({ port: app.port, connections: 1, seconds: seconds / 4 });
      return { ...many, single, direct };
    };
    await inTurns(entries, roundCount, context, measure, describeRound);
    const rows = entries.map((entry) => rowOf(entry, summarize, invalidity));
    const direct = entries.flatMap(({ rounds }) => rounds.map((round) => round.direct.p50Us));
    return {
      how:
        `wrk or a like load -> outbound -> mTLS 1.3 -> inbound -> application, ${replyBytes} bytes each reply, one worker each, ` +
        `${connections} connections for ${seconds} s, then one; ${roundCount} rounds. ` +
        `Straight to the application p50 is ${direct.length === 0 ? "-" : whole(median(direct))} us with 1 connection.`,
      subjects: [
        ...rows.map(({ name, version, note }) => ({ name, version, note })),
        { name: "load", version: load.name, note: "" },
        { name: "application", version: app.name, note: "static reply" },
      ],
      tables: [performance(rows), footprint(rows)],
      gaps: gapsOf(rows),
      findings: findings(rows),
      data: rows,
      isRemoraMeasured: figuresOf(rows, remora.name) !== undefined,
    };
  },
};

/** Medians of the rounds. Throws when there is none. */
export function summarize(rounds: readonly Http1Round[], idle: PairUsage): Http1Figures {
  const many = requestFigures(rounds, idle);
  const singles = rounds.map(({ single }) => single);
  const sum = (value: (load: LoadResult) => number): number =>
    singles.reduce((total, load) => total + value(load), 0);
  return {
    ...many,
    requests: many.requests + sum(({ requests }) => requests),
    errors: many.errors + sum(({ errors }) => errors),
    bytes: many.bytes + sum(({ bytes }) => bytes),
    singleP50Us: median(singles.map(({ p50Us }) => p50Us)),
    addedP50Us: median(rounds.map(({ single, direct }) => single.p50Us - direct.p50Us)),
  };
}

function invalidity(figures: Http1Figures, rounds: readonly Http1Round[]): string | undefined {
  if (rounds.some(({ single }) => single.requests === 0)) return "a run ended without a reply";
  return invalidityOf(figures, rounds, replyBytes);
}

type Rows = readonly Row<Http1Figures, Http1Round>[];

/** What the rows say about the targets. */
export function findings(rows: Rows): ReadonlyMap<string, Finding> {
  const own = figuresOf(rows, remora.name);
  const compare = (against: string, figure: (figures: Http1Figures) => number): Finding => {
    const other = figuresOf(rows, against);
    return { value: ratio(own && figure(own), other && figure(other)) };
  };
  const side = (name: "outbound" | "inbound") => (figures: Http1Figures) => figures[name].cpuUsPerUnit;
  return new Map(
    targets.map(({ id, against }) => [
      id,
      compare(
        against,
        id === "added p50"
          ? ({ addedP50Us }) => addedP50Us
          : side(id.startsWith("outbound") ? "outbound" : "inbound"),
      ),
    ]),
  );
}

function performance(rows: Rows): Table {
  const peers = [haproxy, haproxyHttp2Hop, httpProxy].map(({ name }) => name);
  return {
    title: "",
    head: [
      ...["data plane", "out us/req", "in us/req", ...peers.map((name) => `x ${name}`)],
      ...["req/s", "p50 us", "p99 us", "errors"],
    ],
    rows: shown(rows).map(([name, f]) => [
      name,
      f.outbound.cpuUsPerUnit.toFixed(1),
      f.inbound.cpuUsPerUnit.toFixed(1),
      ...peers.map((peer) => {
        const other = figuresOf(rows, peer);
        return ratioText(ratio(cpuOf(f), other && cpuOf(other)));
      }),
      whole(f.requestsPerSecond),
      whole(f.p50Us),
      whole(f.p99Us),
      String(f.errors),
    ]),
  };
}

function footprint(rows: Rows): Table {
  const peer = figuresOf(rows, haproxy.name);
  type Key = Exclude<keyof SideFigures, "cpuUsPerUnit">;
  const both = ({ outbound, inbound }: Http1Figures, key: Key): string =>
    `${mib(outbound[key])} + ${mib(inbound[key])}`;
  return {
    title: "Added latency with one connection, and memory",
    head: ["data plane", "p50 added us", "x HAProxy", "RSS idle MiB", "under load MiB", "peak MiB"],
    rows: shown(rows).map(([name, f]) => [
      name,
      whole(f.addedP50Us),
      ratioText(ratio(f.addedP50Us, peer?.addedP50Us)),
      both(f, "idleRssBytes"),
      both(f, "loadRssBytes"),
      both(f, "peakRssBytes"),
    ]),
  };
}
