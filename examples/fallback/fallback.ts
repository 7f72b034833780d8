/** `make example NAME=fallback`: a shop whose payment and recommendations are down, and whose prices break. */
import { readFile } from "node:fs/promises";
import path from "node:path";
import { show } from "../small-mesh.js";

const program = (file: string) => () => [process.execPath, path.join(import.meta.dirname, file)];
const policies = path.resolve(import.meta.dirname, "../../../examples/fallback/shop.yaml");

await show(async (mesh) => {
  console.log(await mesh.apply(await readFile(policies, "utf8")));
  for (const service of ["prices", "bestsellers"])
    await mesh.serve({ name: `${service}-1`, service, command: program("../plain-service.js") });
  await mesh.untilRegistered(2);
  const said = await mesh.runToEnd({
    name: "shop",
    service: "shop",
    flags: ["payment", "recommendations", "prices"].flatMap((service) => ["--upstream", `${service}:0`]),
    command: program("shop-client.js"),
  });
  const lines = said.split("\n").filter((line) => /^(GET|POST) /.test(line));
  console.log(lines.join("\n"));
  if (lines.length !== 6) throw new Error(`the shop said: ${said}`);
});
