/** `make example NAME=hedging`: one of two instances takes two seconds for each fourth request; nobody waits that long. */
import { readFile } from "node:fs/promises";
import path from "node:path";
import { show } from "../small-mesh.js";

const program = (file: string) => () => [process.execPath, path.join(import.meta.dirname, file)];
const policy = path.resolve(import.meta.dirname, "../../../examples/hedging/search.yaml");

await show(async (mesh) => {
  const command = program("../plain-service.js");
  await mesh.serve({
    name: "search-1",
    service: "search",
    command,
    env: { SLOW_EVERY: "4", SLOW_MS: "2000" },
  });
  await mesh.serve({ name: "search-2", service: "search", command });
  await mesh.untilRegistered(2);
  console.log(await mesh.apply(await readFile(policy, "utf8")));
  const said = await mesh.runToEnd({
    name: "shop",
    service: "shop",
    flags: ["--upstream", "search:0"],
    command: program("shop-client.js"),
  });
  const line = said.split("\n").find((text) => text.startsWith('{"answers"')) ?? "{}";
  const { answers, slowestMs = Infinity } = JSON.parse(line) as { answers?: number; slowestMs?: number };
  console.log(`${answers} answers, the slowest in ${slowestMs} ms`);
  if (answers !== 40 || slowestMs >= 2000) throw new Error("a slow answer was waited for");
});
