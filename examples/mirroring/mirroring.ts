/** `make example NAME=mirroring`: the next version of a service gets copies of all requests; nobody hears its answers. */
import { readFile } from "node:fs/promises";
import path from "node:path";
import { call } from "../demo/traffic.js";
import { until } from "../demo/processes.js";
import { show } from "../small-mesh.js";

const program = (file: string) => () => [process.execPath, path.join(import.meta.dirname, file)];
const route = path.resolve(import.meta.dirname, "../../../examples/mirroring/prices.yaml");

await show(async (mesh) => {
  const command = program("../plain-service.js");
  await mesh.serve({ name: "prices-1", service: "prices", command });
  const next = await mesh.serve({ name: "prices-next-1", service: "prices-next", command });
  await mesh.untilRegistered(2);
  console.log(await mesh.apply(await readFile(route, "utf8")));
  const said = await mesh.runToEnd({
    name: "shop",
    service: "shop",
    flags: ["--upstream", "prices:0"],
    command: program("shop-client.js"),
  });
  const lines = said.split("\n").filter((line) => /^(GET|POST): /.test(line));
  console.log(lines.join("\n"));
  // Past the mesh: what has the next version seen?
  const seen = await until("copies of both requests", 5000, async () => {
    const requests = JSON.parse((await call(next.port, "/seen")).body) as readonly string[];
    return requests.length === 2 ? requests : undefined;
  });
  console.log("the next version saw:", seen.join(", "));
  if (lines.length !== 2) throw new Error(`the shop said: ${said}`);
});
