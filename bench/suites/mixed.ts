import { truncate, writeFile } from "node:fs/promises";
import path from "node:path";
import { whole } from "../cells.js";
import { startAppWithFile } from "../apps/static-app.js";
import { chooseHttpLoad } from "../load/http-load.js";
import type { LoadResult } from "../load/load-result.js";
import { median } from "../median.js";
import { haproxy, haproxyHttp2Hop } from "../planes/haproxy.js";
import { remoraPlane } from "../planes/remora.js";
import { untilServing } from "../probe.js";
import { figuresOf, gapsOf, inTurns, rowOf, shown, startPlanes, type Row } from "../rounds.js";
import { chosenPlanes, type Suite } from "../suite.js";

const connections = 16;
const remora = remoraPlane();

interface MixedRound {
  readonly alone: LoadResult;
  readonly beside: LoadResult;
  /** Of the transfer, while the small requests ran. */
  readonly transferBytes: number;
}

interface MixedFigures {
  readonly aloneP50Us: number;
  readonly aloneP99Us: number;
  readonly besideP50Us: number;
  readonly besideP99Us: number;
  readonly besidePerSecond: number;
  readonly transferMiBPerSecond: number;
}

/** What a big transfer does to small requests that share the mesh hop with it. */
export const mixed: Suite = {
  name: "mixed",
  title: "Small requests beside a big transfer",
  targets: [],
  planes: [remora, haproxy, haproxyHttp2Hop],
  usual: { seconds: 4, roundCount: 3 },
  async run(context) {
    const { dir, processes, seconds, roundCount, transferMiB } = context;
    const load = await chooseHttpLoad(dir, seconds, processes);
    const file = path.join(dir, "big");
    await writeFile(file, "");
    await truncate(file, transferMiB * 2 ** 20); // takes no room on the disk
    const app = await startAppWithFile(dir, processes, file);
    const planes = chosenPlanes(mixed, context.only);
    const entries = await startPlanes<MixedRound>(planes, { ...context, appPort: app.port, untilServing });
    await inTurns(
      entries,
      roundCount,
      context,
      async ({ port }) => {
        await load.run({ port, connections, seconds: seconds / 2 });
        const alone = await load.run({ port, connections, seconds });
        const drain = path.join(import.meta.dirname, "../load/drain.js");
        const transfer = processes.run(process.execPath, [drain, `${port}`, "/big", `${seconds}`]);
        const [beside, output] = await Promise.all([load.run({ port, connections, seconds }), transfer]);
        const { bytes } = JSON.parse(output) as { readonly bytes: number };
        return { alone, beside, transferBytes: bytes };
      },
      ({ alone, beside }) => `p99 ${whole(alone.p99Us)} us alone, ${whole(beside.p99Us)} us beside`,
    );
    const rows = entries.map((entry) => rowOf(entry, (rounds) => summarize(rounds, seconds), invalidity));
    return {
      how:
        `Small replies on ${connections} connections for ${seconds} s, alone and then beside transfers of ${transferMiB} MiB through the same pair, ` +
        `one after the other; ${roundCount} rounds.`,
      subjects: [
        ...rows.map(({ name, version, note }) => ({ name, version, note })),
        { name: "load", version: load.name, note: "the transfer is read by a Node process" },
        { name: "application", version: app.name, note: "" },
      ],
      tables: [
        {
          title: "",
          head: [
            ...["data plane", "p50 alone us", "p99 alone us", "p50 beside us", "p99 beside us"],
            ...["p99 beside / alone", "req/s beside", "transfer MiB/s"],
          ],
          rows: shown(rows).map(([name, f]) => [
            name,
            ...[f.aloneP50Us, f.aloneP99Us, f.besideP50Us, f.besideP99Us].map(whole),
            `${(f.besideP99Us / f.aloneP99Us).toFixed(1)}x`,
            whole(f.besidePerSecond),
            whole(f.transferMiBPerSecond),
          ]),
        },
      ],
      gaps: gapsOf(rows as readonly Row<MixedFigures, MixedRound>[]),
      findings: new Map(),
      data: rows,
      isRemoraMeasured: figuresOf(rows, remora.name) !== undefined,
    };
  },
};

function summarize(rounds: readonly MixedRound[], seconds: number): MixedFigures {
  const middle = (value: (round: MixedRound) => number): number => median(rounds.map(value));
  return {
    aloneP50Us: middle(({ alone }) => alone.p50Us),
    aloneP99Us: middle(({ alone }) => alone.p99Us),
    besideP50Us: middle(({ beside }) => beside.p50Us),
    besideP99Us: middle(({ beside }) => beside.p99Us),
    besidePerSecond: middle(({ beside }) => (beside.requests * 1e6) / beside.durationUs),
    transferMiBPerSecond: middle(({ transferBytes }) => transferBytes / 2 ** 20 / seconds),
  };
}

function invalidity(_figures: MixedFigures, rounds: readonly MixedRound[]): string | undefined {
  const loads = rounds.flatMap(({ alone, beside }) => [alone, beside]);
  const errors = loads.reduce((sum, load) => sum + load.errors, 0);
  if (errors > 0) return `${errors} requests failed`;
  if (loads.some(({ requests }) => requests === 0)) return "a run ended without a reply";
  return rounds.some(({ transferBytes }) => transferBytes === 0) ? "nothing was transferred" : undefined;
}
