/** `make example NAME=authorization`: one service may read another, a second one may not, and no spelling opens what is closed. */
import { readFile } from "node:fs/promises";
import path from "node:path";
import { show } from "../small-mesh.js";

const folder = path.resolve(import.meta.dirname, "../../../examples/authorization");
const program = (file: string) => () => [process.execPath, path.join(import.meta.dirname, file)];

await show(async (mesh) => {
  await mesh.serve({ name: "ratings-1", service: "ratings", command: program("ratings-service.js") });
  await mesh.untilRegistered(1);
  console.log(await mesh.apply(await readFile(path.join(folder, "authorization.yaml"), "utf8")));
  for (const service of ["reviews", "details"]) {
    const said = await mesh.runToEnd({
      name: service,
      service,
      flags: ["--upstream", "ratings:0"],
      command: () => [...program("ratings-client.js")(), service],
    });
    for (const line of said.split("\n")) if (line.startsWith(`${service} `)) console.log(line);
  }
});
