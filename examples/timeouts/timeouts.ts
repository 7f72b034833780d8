/** `make example NAME=timeouts`: time limits that name who set them, and a deadline that two services keep to. */
import { readFile } from "node:fs/promises";
import path from "node:path";
import { until } from "../demo/processes.js";
import { call } from "../demo/traffic.js";
import { show } from "../small-mesh.js";

const program = (file: string) => () => [process.execPath, path.join(import.meta.dirname, file)];
const documents = path.resolve(import.meta.dirname, "../../../examples/timeouts/reports.yaml");

await show(async (mesh) => {
  const archive = await mesh.serve({
    name: "archive-1",
    service: "archive",
    command: program("archive-service.js"),
  });
  const flags = ["--upstream", "archive:0"];
  await mesh.serve({ name: "reports-1", service: "reports", command: program("reports-service.js"), flags });
  await mesh.untilRegistered(2);
  console.log(await mesh.apply(await readFile(documents, "utf8")));
  const said = await mesh.runToEnd({
    name: "shop",
    service: "shop",
    flags: ["--upstream", "reports:0"],
    command: program("shop-client.js"),
  });
  const lines = said
    .split("\n")
    .filter((line) => /^(slow|summary|twice|own deadline|two hops|left): /.test(line));
  console.log(lines.join("\n"));
  const leftMs = Number(/^left: 200 (\d+)$/m.exec(said)?.[1]);
  if (!(leftMs > 0 && leftMs <= 600)) throw new Error(`the archive was told ${leftMs}`);
  console.log("the archive, two hops away, was told what was left of 600 ms");
  await until("the end of the work that nobody waits for", 10_000, async () =>
    (await call(archive.port, "/let-go")).body === "1" ? true : undefined,
  );
  console.log("the archive was let go when the time was over");
});
