// # runs beside others
/** `make demo` must really show what it says. */
import { spawn } from "node:child_process";
import path from "node:path";
import t from "tap";

const demo = path.resolve(import.meta.dirname, "../../examples/demo/demo.js");

t.test("the demo sees each of its steps and ends with exit code 0", async (t) => {
  const child = spawn(process.execPath, [demo], { stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => (output += text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => (output += text));
  const code = await new Promise((resolve) => child.once("close", resolve));
  t.equal(code, 0, output);
  for (const step of [1, 2, 3, 4, 5, 6]) t.match(output, new RegExp(`^ ${step}\\. `, "m"));
  t.match(output, "All 6 steps seen");
});
