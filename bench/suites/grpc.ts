import { startGrpcApp, untilAnswering } from "../apps/grpc-app.js";
import { ratioText, whole } from "../cells.js";
import { openH2Load } from "../load/h2load.js";
import type { LoadResult } from "../load/load-result.js";
import { measureUnder, type Measured } from "../pair-usage.js";
import { haproxyHttp2 } from "../planes/haproxy.js";
import { nodeHttp2 } from "../planes/node-http2.js";
import { remoraPlane } from "../planes/remora.js";
import type { Table } from "../report.js";
import {
  cpuOf,
  describeRound,
  invalidityOf,
  requestFigures,
  type RequestFigures,
} from "../request-figures.js";
import { figuresOf, gapsOf, inTurns, rowOf, shown, startPlanes, type Row } from "../rounds.js";
import { chosenPlanes, type Suite } from "../suite.js";
import { ratio, type Finding, type Target } from "../target.js";

const connections = 8;
const streams = 8;
const remora = remoraPlane({ protocol: "grpc" });

const targets: readonly Target[] = [
  { peer: haproxyHttp2.name, most: 2 },
  { peer: nodeHttp2.name, most: 0.25 },
].flatMap(({ peer, most }) =>
  ["outbound", "inbound"].map((side) => ({
    id: `${side} ${peer}`,
    what: `gRPC unary, ${connections} x ${streams} streams, CPU per call, ${side}`,
    against: peer,
    bound: { side: "most", value: most, unit: "x" },
  })),
);

/** Unary gRPC calls, HTTP/2 from end to end. */
export const grpc: Suite = {
  name: "grpc",
  title: "gRPC unary calls through two sidecars",
  targets,
  planes: [remora, haproxyHttp2, nodeHttp2],
  usual: { seconds: 4, roundCount: 3 },
  async run(context) {
    const { dir, processes, seconds, roundCount } = context;
    const load = await openH2Load(dir, processes);
    const app = await startGrpcApp(dir, processes);
    const planes = chosenPlanes(grpc, context.only);
    const entries = await startPlanes<Measured<LoadResult>>(planes, {
      ...context,
      appPort: app.port,
      untilServing: untilAnswering,
    });
    await inTurns(
      entries,
      roundCount,
      context,
      async (pair) => {
        const { port } = pair;
        await load.run({ port, connections, streams, seconds: seconds / 2 });
        return measureUnder(pair, seconds, () => load.run({ port, connections, streams, seconds }));
      },
      describeRound,
    );
    const rows = entries.map((entry) =>
      rowOf(entry, requestFigures, (figures, rounds) => invalidityOf(figures, rounds, 0)),
    );
    return {
      how:
        `h2load, HTTP/2 without TLS, POST with a gRPC message of 10 bytes -> outbound -> mTLS 1.3 -> inbound -> application, which answers ` +
        `head, message and trailers; ${connections} connections x ${streams} streams for ${seconds} s, ${roundCount} rounds.`,
      subjects: [
        ...rows.map(({ name, version, note }) => ({ name, version, note })),
        { name: "load", version: load.name, note: "1 thread" },
        { name: "application", version: app.name, note: "add_trailer grpc-status 0" },
      ],
      tables: [table(rows)],
      gaps: gapsOf(rows),
      findings: findings(rows),
      data: rows,
      isRemoraMeasured: figuresOf(rows, remora.name) !== undefined,
    };
  },
};

type Rows = readonly Row<RequestFigures, Measured<LoadResult>>[];

function findings(rows: Rows): ReadonlyMap<string, Finding> {
  const own = figuresOf(rows, remora.name);
  return new Map(
    targets.map(({ id, against }) => {
      const side = id.startsWith("outbound") ? "outbound" : "inbound";
      return [id, { value: ratio(own?.[side].cpuUsPerUnit, figuresOf(rows, against)?.[side].cpuUsPerUnit) }];
    }),
  );
}

function table(rows: Rows): Table {
  const peers = [haproxyHttp2.name, nodeHttp2.name];
  return {
    title: "",
    head: [
      ...["data plane", "out us/call", "in us/call", ...peers.map((name) => `x ${name}`)],
      ...["calls/s", "p50 us", "p99 us", "errors"],
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
