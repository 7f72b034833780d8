/** docs/errors.md and docs/metrics.md list exactly what the code has: nothing missing, nothing left over, nothing different. */
import { readFileSync } from "node:fs";
import path from "node:path";
import t from "tap";
import { errorTable, type ErrorRow } from "../../src/errors/error-table.js";
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
