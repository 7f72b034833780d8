/** `make example NAME=failover`: one zone fails, then the whole service; the caller sees neither. */
import { readFile } from "node:fs/promises";
import path from "node:path";
import { until } from "../demo/processes.js";
import { call } from "../demo/traffic.js";
import { answererOf, expectAnswerer } from "../answerers.js";
import { show, type Instance } from "../small-mesh.js";

const program = (file: string) => () => [process.execPath, path.join(import.meta.dirname, file)];
const policy = path.resolve(import.meta.dirname, "../../../examples/failover/api.yaml");

await show(async (mesh) => {
  const command = program("../plain-service.js");
  const serve = (name: string, service: string, zone: string): Promise<Instance> =>
    mesh.serve({ name, service, command, flags: ["--zone", zone] });
  const near = await serve("api-north", "api", "north");
  const far = await serve("api-south", "api", "south");
  await serve("backup", "api-backup", "south");
  const flags = ["--zone", "north", "--upstream", "api:0"];
  const web = await mesh.serve({
    name: "web-1",
    service: "web",
    flags,
    command: program("../passing-service.js"),
  });
  await mesh.untilKnown(web, "api", 2);
  console.log(await mesh.apply(await readFile(policy, "utf8")));

  const untilAnswered = (name: string): Promise<boolean> =>
    until(`an answer of ${name}`, 10_000, async () => ((await answererOf(web)) === name ? true : undefined));

  await until("the policy at web", 10_000, async () => {
    const names = new Set<string>();
    for (let i = 0; i < 10; i++) names.add(await answererOf(web));
    return names.size === 1 ? true : undefined;
  });
  await expectAnswerer(web, "all is well", near.name);
  await call(near.port, "/break");
  await expectAnswerer(web, "the own zone is broken", far.name);
  await call(far.port, "/break");
  await expectAnswerer(web, "all of api is broken", "backup");
  await call(near.port, "/mend");
  await untilAnswered(near.name);
  console.log(`mended: ${near.name} answers again`);
});
