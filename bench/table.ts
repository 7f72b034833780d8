import type { Machine } from "./machine.js";
import type { Report, SuiteReport, Table } from "./report.js";
import { ratioText } from "./cells.js";
import type { Bound, TargetResult } from "./target.js";

/** A higher load average means that something else takes part. */
const quietLoadPerCore = 0.5;

/** The report for a terminal. */
export function reportText(report: Report): string {
  return [
    ...busyWarning(report),
    ...report.suites.flatMap((suite) => [
      `== ${suite.title}`,
      suite.how,
      ...suite.tables.flatMap((table) => [...(table.title === "" ? [] : [table.title]), aligned(table)]),
      ...suite.gaps,
    ]),
    "== Targets (Remora, or Remora against the other of the same run)",
    aligned(targetTable(report)),
  ].join("\n\n");
}

/** The report as a document. */
export function reportMarkdown(report: Report): string {
  const { machine, startedAt, command, durationSeconds } = report;
  const gib = (machine.memoryBytes / 2 ** 30).toFixed(1);
  return `# Benchmarks

${busyWarning(report)
  .map((line) => `${line}\n\n`)
  .join("")}* When: ${startedAt}, \`${command}\`, ${durationSeconds.toFixed(0)} s
* Machine: ${machine.cpu}, ${machine.cores} cores, ${gib} GiB; ${machine.kernel}, ${machine.system}; load average before the run ${machine.loadAverage.toFixed(2)}
* Runtime: Node ${machine.node}, OpenSSL ${machine.openssl}
* Commit: ${machine.commit || "unknown"}

## Targets

${markdownTable(targetTable(report))}

${report.suites.map(suiteMarkdown).join("\n")}
How this is measured and how to read it: [bench/README.md](../README.md).
`;
}

function suiteMarkdown(suite: SuiteReport): string {
  const subjects = suite.subjects.map(
    ({ name, version, note }) =>
      `* ${[`${name} ${version}`.trim(), note].filter((text) => text !== "").join(": ")}`,
  );
  return [
    `## ${suite.title}`,
    suite.how,
    ...(subjects.length === 0 ? [] : [subjects.join("\n")]),
    ...suite.tables.flatMap((table) => [
      ...(table.title === "" ? [] : [`**${table.title}**`]),
      markdownTable(table),
    ]),
    ...suite.gaps,
    "",
  ].join("\n\n");
}

function busyWarning({ machine }: Report): readonly string[] {
  return isBusy(machine) ? ["THE MACHINE WAS BUSY with other work when this began: measure again."] : [];
}

function isBusy({ loadAverage, cores }: Machine): boolean {
  return loadAverage > cores * quietLoadPerCore;
}

function targetTable({ suites }: Report): Table {
  return {
    title: "",
    head: ["figure", "against", "target", "measured", "", "remark"],
    rows: suites.flatMap(({ targets }) =>
      targets.map((target) => [
        target.what,
        target.against || "-",
        boundText(target.bound),
        valueText(target),
        target.state,
        target.why,
      ]),
    ),
  };
}

function boundText({ side, value, unit }: Bound): string {
  return `${side === "most" ? "<=" : ">="} ${unit === "x" ? `${value.toFixed(2)}x` : `${value} ${unit}`}`;
}

function valueText({ value, bound }: TargetResult): string {
  if (value === undefined) return "-";
  if (bound.unit === "x") return ratioText(value);
  return `${bound.unit === "s" ? value.toFixed(2) : value.toFixed(0)} ${bound.unit}`;
}

/** First column to the left, the others to the right. */
function aligned({ head, rows }: Table): string {
  const table = [head, ...rows];
  const widths = head.map((_, column) => Math.max(...table.map((row) => row[column]?.length ?? 0)));
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

function markdownTable({ head, rows }: Table): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(" | ")} |`;
  return [line(head), line(head.map((_, column) => (column === 0 ? "---" : "---:"))), ...rows.map(line)].join(
    "\n",
  );
}
