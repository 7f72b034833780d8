import { execFile } from "node:child_process";
import path from "node:path";
import { promisify } from "node:util";
import t from "tap";

const module = path.resolve(import.meta.dirname, "../../bin/small-heap.js");

/** Objects that all survive, as those of modules do; then the room for young ones, in a process of its own. */
const script = `
import { getHeapSpaceStatistics } from "node:v8";
import { withSmallHeap } from ${JSON.stringify(module)};
const kept = [];
const fill = async () => { for (let i = 0; i < 300_000; i++) kept.push({ i, text: [i] }); };
const young = () => getHeapSpaceStatistics().find(({ space_name }) => space_name === "new_space").space_size;
const before = young();
await withSmallHeap(fill);
const small = young();
await withSmallHeap(async () => { throw new Error("x"); }).catch(() => {});
await fill();
console.log(JSON.stringify({ before, small, usual: young() }));
`;

t.test("the room for young objects grows only outside", async (t) => {
  const { stdout } = await promisify(execFile)(process.execPath, ["--input-type=module", "-e", script], {
    timeout: 30_000,
  });
  const { before, small, usual } = JSON.parse(stdout) as Record<"before" | "small" | "usual", number>;
  t.ok(small <= Math.max(before, 2 ** 21), `${before} -> ${small} bytes while it is kept small`);
  t.ok(usual >= 2 * small, `${usual} bytes afterwards, also when the work failed`);
});
