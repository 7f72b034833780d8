/** docs/errors.md, docs/metrics.md and docs/protocols.md list exactly what the code has: nothing missing, nothing left over, nothing different. */
import { readFileSync } from "node:fs";
import path from "node:path";
import t from "tap";
import { errorTable, type ErrorRow } from "../../src/errors/error-table.js";
import { http2LimitNames, http2Limits } from "../../src/http2/limits.js";
import { Metrics } from "../../src/telemetry/metrics.js";

const docs = path.resolve(import.meta.dirname, "../../../docs");
const read = (name: string): string => readFileSync(path.join(docs, name), "utf8");

/** Rows of all tables whose first cell is code: its text, then the other cells. */
function rows(text: string): string[][] {
  return text
    .split("\n")
    .filter((line) => line.startsWith("| `"))
    .map((line) =>
      line
        .split("|")
        .slice(1, -1)
        .map((cell) => cell.trim()),
    );
}

const unquoted = (cell = ""): string => cell.replaceAll("`", "");

t.test("docs/errors.md has one row for each code, with its statuses, flag and retry", async (t) => {
  const documented = rows(read("errors.md"));
  const table: Readonly<Record<string, ErrorRow>> = errorTable;
  t.same(
    documented.map(([code]) => unquoted(code)).sort(),
    Object.keys(table).sort(),
    "the same codes, each once",
  );
  for (const [code, status, grpc, flag, retry, meaning, remedy] of documented) {
    const row = table[unquoted(code)];
    t.same(
      [status, grpc, flag, retry],
      [String(row?.status), String(row?.grpcStatus), row?.flag, row?.retry],
      `${code}: HTTP, gRPC, flag, retried`,
    );
    t.ok(meaning !== undefined && meaning.length > 20, `${code} says what it means`);
    t.ok(remedy !== undefined && remedy.length > 15, `${code} says what to do`);
  }
});

t.test("docs/metrics.md has one row for each metric, with its type, labels and meaning", async (t) => {
  const text = read("metrics.md");
  const documented = rows(text);
  const families = new Metrics().families();
  t.same(
    documented.map(([name]) => unquoted(name)).sort(),
    families.map(({ name }) => name).sort(),
    "the same metrics, each once",
  );
  // Label sets that the page gives a name: "*cluster's* labels are: `a`, `b`." up to the end of the sentence.
  const named = (name: string): string => {
    const [, list = ""] = new RegExp(`\\*${name}\\* labels are:([\\s\\S]*?)\\.(?:\\s|$)`).exec(text) ?? [];
    // What stands in parentheses are values.
    return list.replace(/\([^)]*\)/g, "");
  };
  const expand = (cell: string): string =>
    cell.replace(/\*([A-Za-z']+)\*/g, (_, name: string) => expand(named(name)));
  const labelsOf = (cell = ""): string[] => {
    return [...expand(cell).matchAll(/`([a-z_]+)`/g)].map(([, label = ""]) => label).sort();
  };
  for (const [name, type, labels, meaning] of documented) {
    const family = families.find((one) => one.name === unquoted(name));
    t.equal(type, family?.type, `${name} is a ${family?.type}`);
    t.same(labelsOf(labels), [...(family?.labels ?? [])].sort(), `${name} has its labels`);
    t.equal(meaning, family?.help, `${name} means what its help says`);
  }
});

t.test(
  "docs/protocols.md has one row for each bound of HTTP/2 with its value, and every metric label",
  (t) => {
    const documented = rows(read("protocols.md"));
    const bounds = new Map(Object.entries(http2Limits).map(([name, value]) => [name, shown(name, value)]));
    const told = new Map(documented.map(([name, value]) => [unquoted(name), value ?? ""]));
    for (const [name, value] of bounds) t.equal(told.get(name), value, name);
    const others = [...told.keys()].filter(
      (name) => /^max|^min|Ms$|Bytes$|Percent$/.test(name) && !bounds.has(name),
    );
    t.same(others, [], "no row for a bound that does not exist");
    const labels = documented.flatMap((row) =>
      [...(row[2] ?? "").matchAll(/`([a-z_]+)`/g)].map(([, label]) => label),
    );
    t.same(
      [...new Set(labels)].sort(),
      [...http2LimitNames].sort(),
      "every value of the label `limit`, and no other",
    );
    t.end();
  },
);

/** As the page writes it: the unit is the end of the name. */
function shown(name: string, value: number): string {
  if (name.endsWith("Ms")) return `${value / 1000} s`;
  if (name.endsWith("Percent")) return `${value} %`;
  if (!name.endsWith("Bytes")) return String(value);
  return value >= 1024 * 1024 ? `${value / 1024 / 1024} MiB` : `${value / 1024} KiB`;
}
