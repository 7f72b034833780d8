import { figuresOf, type Report, type Row, type TargetResult } from "./report.js";
import type { Figures } from "./figures.js";
import { ratioOf } from "./targets.js";

/** A higher load average before the run means that something else took part. */
const quietLoadPerCore = 0.5;

type Cells = readonly string[];

/** The report for a terminal. */
export function reportText(report: Report): string {
  return [
    headline(report),
    aligned(performance(report)),
    "Added latency and memory",
    aligned(footprint(report)),
    ...gaps(report.rows),
    "Targets (Remora against the other, same run)",
    aligned(targetTable(report.targets)),
  ].join("\n\n");
}

/** The report as a document. */
export function reportMarkdown(report: Report): string {
  const { machine, startedAt, command, load, app } = report;
  const gib = (machine.memoryBytes / 2 ** 30).toFixed(1);
  return `# HTTP/1.1 through two sidecars

${headline(report)}

* When: ${startedAt}, \`${command}\`
* Machine: ${machine.cpu}, ${machine.cores} cores, ${gib} GiB; ${machine.kernel}, ${machine.system}; load average before the run ${machine.loadAverage.toFixed(2)}
* Runtime: Node ${machine.node}, OpenSSL ${machine.openssl}
* Load: ${load}; application: ${app}
${report.rows.map(({ name, version, note }) => `* ${name} ${version}: ${note}`).join("\n")}

${markdownTable(performance(report))}

## Added latency and memory

${markdownTable(footprint(report))}
${gaps(report.rows)
  .map((line) => `\n${line}\n`)
  .join("")}
## Targets

${markdownTable(targetTable(report.targets))}

How this is measured and how to read it: [bench/README.md](../README.md).
`;
}

function headline({ connections, seconds, roundCount, directP50Us, machine }: Report): string {
  const isBusy = machine.loadAverage > machine.cores * quietLoadPerCore;
  const warning = isBusy ? " THE MACHINE WAS BUSY with other work when this began: measure again." : "";
  const rounds = roundCount === 1 ? "1 round" : `medians of ${roundCount} rounds`;
  return (
    `load -> outbound -> mTLS 1.3 -> inbound -> app, 1 KiB replies, one worker each, ${connections} connections, ` +
    `${seconds} s, ${rounds}. Without sidecars p50 is ${whole(directP50Us)} us with 1 connection.${warning}`
  );
}

function performance({ rows }: Report): readonly Cells[] {
  const haproxy = figuresOf(rows, "HAProxy");
  const httpProxy = figuresOf(rows, "http-proxy");
  const cpu = ({ outbound, inbound }: Figures): number => outbound.cpuUsPerRequest + inbound.cpuUsPerRequest;
  return [
    [
      "data plane",
      "out us/req",
      "in us/req",
      "x HAProxy",
      "x http-proxy",
      "req/s",
      "p50 us",
      "p99 us",
      "errors",
    ],
    ...measured(rows).map(([name, f]) => [
      name,
      f.outbound.cpuUsPerRequest.toFixed(1),
      f.inbound.cpuUsPerRequest.toFixed(1),
      ratioText(ratioOf(f, haproxy, cpu)),
      ratioText(ratioOf(f, httpProxy, cpu)),
      whole(f.requestsPerSecond),
      whole(f.p50Us),
      whole(f.p99Us),
      String(f.errors),
    ]),
  ];
}

function footprint({ rows }: Report): readonly Cells[] {
  const haproxy = figuresOf(rows, "HAProxy");
  const mib = (bytes: number): string => (bytes / 2 ** 20).toFixed(0);
  const both = (
    { outbound, inbound }: Figures,
    key: "idleRssBytes" | "loadRssBytes" | "peakRssBytes",
  ): string => `${mib(outbound[key])} + ${mib(inbound[key])}`;
  return [
    ["data plane", "p50 added us", "x HAProxy", "RSS idle MiB", "under load MiB", "peak MiB"],
    ...measured(rows).map(([name, f]) => [
      name,
      whole(f.addedP50Us),
      ratioText(ratioOf(f, haproxy, ({ addedP50Us }) => addedP50Us)),
      both(f, "idleRssBytes"),
      both(f, "loadRssBytes"),
      both(f, "peakRssBytes"),
    ]),
  ];
}

/** An invalid row shows its figures, marked, so that its cause can be looked for. */
function measured(rows: readonly Row[]): readonly (readonly [string, Figures])[] {
  return rows.flatMap((row) => {
    if (row.state === "not available") return [];
    return [[row.state === "invalid" ? `${row.name} (invalid)` : row.name, row.figures] as const];
  });
}

function gaps(rows: readonly Row[]): readonly string[] {
  return rows.flatMap((row) =>
    row.state === "measured" ? [] : [`${row.name}: ${row.state}: ${row.reason.replace(/\s+/g, " ")}`],
  );
}

function targetTable(targets: readonly TargetResult[]): readonly Cells[] {
  return [
    ["figure", "against", "target", "ratio", ""],
    ...targets.map(({ what, against, most, ratio, state }) => [
      ...[what, against, `<= ${most.toFixed(1)}x`, ratioText(ratio), state],
    ]),
  ];
}

function ratioText(ratio: number | undefined): string {
  return ratio === undefined ? "-" : `${ratio.toFixed(2)}x`;
}

function whole(value: number): string {
  return String(Math.round(value));
}

/** First column to the left, the others to the right. */
function aligned(table: readonly Cells[]): string {
  const widths = (table[0] ?? []).map((_, column) =>
    Math.max(...table.map((row) => row[column]?.length ?? 0)),
  );
  return table
    .map((row) =>
      row
        .map((cell, column) =>
          column === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[column] ?? 0),
        )
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}

function markdownTable([head = [], ...body]: readonly Cells[]): string {
  const line = (cells: Cells): string => `| ${cells.join(" | ")} |`;
  return [line(head), line(head.map((_, column) => (column === 0 ? "---" : "---:"))), ...body.map(line)].join(
    "\n",
  );
}
