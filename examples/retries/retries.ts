/**
 * `make example NAME=retries`: three hops with four attempts each, and a service at their end that is down. It gets a quarter more
 * requests at most, not sixty-four for one; and a deadline ends the work of the whole chain.
 */
import { readFile } from "node:fs/promises";
import path from "node:path";
import { call } from "../demo/traffic.js";
import { until } from "../demo/processes.js";
import { show } from "../small-mesh.js";

const program = (file: string) => () => [process.execPath, path.join(import.meta.dirname, file)];
const policies = path.resolve(import.meta.dirname, "../../../examples/retries/retries.yaml");
const requests = 300;

interface Counts {
  readonly served: number;
  readonly waitedMs: number;
}

await show(async (mesh) => {
  const command = program("chain-service.js");
  const leaf = await mesh.serve({ name: "leaf-1", service: "leaf", command });
  await mesh.serve({ name: "b-1", service: "b", command, flags: ["--upstream", "leaf:0"] });
  await mesh.serve({ name: "a-1", service: "a", command, flags: ["--upstream", "b:0"] });
  await mesh.untilRegistered(3);
  console.log(await mesh.apply(await readFile(policies, "utf8")));
  const said = await mesh.runToEnd({
    name: "web",
    service: "web",
    command: () => [...program("chain-client.js")(), `${requests}`],
    flags: ["--upstream", "a:0"],
  });
  const line = said.split("\n").find((text) => text.startsWith('{"statuses"')) ?? "{}";
  const { statuses, slow } = JSON.parse(line) as { readonly statuses: unknown; readonly slow: string };
  const { served, waitedMs } = await until("the end of the slow request", 10_000, async () => {
    const counts = JSON.parse((await call(leaf.port, "/count")).body) as Counts;
    return counts.waitedMs >= 0 ? counts : undefined;
  });
  // Without the one that had a deadline.
  const load = (served - 1) / requests;
  console.log("what web saw:", statuses);
  console.log(`leaf got ${served - 1} requests for ${requests}: ${load.toFixed(2)} times`);
  console.log(`with a deadline: ${slow}; leaf was let go after ${waitedMs} ms`);
  if (load > 1.25) throw new Error("retries were multiplied");
  if (load < 1.05) throw new Error("nothing was retried");
  if (!slow.startsWith("504 ") || waitedMs > 2000) throw new Error("the deadline did not hold");
  console.log("the chain held");
});
