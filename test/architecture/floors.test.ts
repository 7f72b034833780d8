/** Files of src/ import only from lower floors; folders on one floor never import each other; no cycles anywhere. */
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import t from "tap";

const root = path.resolve(import.meta.dirname, "../../..");
const floors: readonly (readonly string[])[] = [
  ["errors", "time"],
  ["traffic", "lifecycle"],
  ["config", "telemetry"],
  ["identity"],
  ["stack", "redis", "consul"],
  ["policy", "balance", "route", "http1", "http2", "tcp", "pool"],
  ["proxy", "discovery", "registration", "supervise", "admin", "workload-api"],
  ["workers"],
];
const floorOf = new Map(
  floors.flatMap((folders, floor) => folders.map((folder) => [folder, floor] as const)),
);

function sources(folder: string): string[] {
  return readdirSync(path.join(root, folder), { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".ts") && !file.endsWith(".d.ts"))
    .map((file) => path.join(folder, file));
}

function imports(file: string): string[] {
  const text = readFileSync(path.join(root, file), "utf8");
  return [...text.matchAll(/(?:from|import)\s*\(?"(\.{1,2}\/[^"]+)"/g)].map((match) =>
    path.join(path.dirname(file), (match[1] ?? "").replace(/\.js$/, ".ts")),
  );
}

t.test("src/ imports only downwards", async (t) => {
  for (const file of sources("src")) {
    const folder = file.split(path.sep)[1] ?? "";
    const floor = floorOf.get(folder);
    if (file.split(path.sep).length === 2) continue; // app.ts, index.ts: the top floor
    t.not(floor, undefined, `${folder}/ has a floor`);
    for (const target of imports(file)) {
      const [top, below = ""] = target.split(path.sep);
      if (top === "certs") continue; // stands below src/
      const targetFloor = floorOf.get(below);
      const isOk =
        below === folder || (targetFloor !== undefined && floor !== undefined && targetFloor < floor);
      t.ok(isOk, `${file} -> ${target}`);
    }
  }
});

t.test("no import cycles", async (t) => {
  const files = ["certs", "src", "control-plane", "bin"].flatMap(sources);
  // Depth first; a file is finished once everything it imports was walked.
  const done = new Set<string>();
  const visit = (file: string, trail: readonly string[]): void => {
    if (trail.includes(file))
      return void t.fail(`cycle: ${[...trail.slice(trail.indexOf(file)), file].join(" -> ")}`);
    if (done.has(file)) return;
    for (const target of imports(file)) visit(target, [...trail, file]);
    done.add(file);
  };
  for (const file of files) if (!done.has(file)) visit(file, []);
  t.pass("walked");
});
