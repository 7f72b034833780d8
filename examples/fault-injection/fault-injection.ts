/** `make example NAME=fault-injection`: failures and delays for testers, which end by themselves after some seconds. */
import { readFile } from "node:fs/promises";
import path from "node:path";
import { show } from "../small-mesh.js";

const program = (file: string) => () => [process.execPath, path.join(import.meta.dirname, file)];
const policies = path.resolve(import.meta.dirname, "../../../examples/fault-injection/payment.yaml");
const lifeMs = 8000;

await show(async (mesh) => {
  for (const service of ["payment", "inventory"])
    await mesh.serve({ name: `${service}-1`, service, command: program("../plain-service.js") });
  await mesh.untilRegistered(2);
  const documents = await readFile(policies, "utf8");
  const endless = documents.replaceAll("EXPIRES", "2099-01-01T00:00:00Z");
  await mesh.apply(endless).then(
    () => Promise.reject(new Error("a fault without an end was accepted")),
    (error: Error) => console.log(`refused: ${/fault must end by itself/.exec(error.message)?.[0]}`),
  );
  const expires = new Date(Date.now() + lifeMs).toISOString();
  console.log(await mesh.apply(documents.replaceAll("EXPIRES", expires)));
  const said = await mesh.runToEnd({
    name: "shop",
    service: "shop",
    flags: ["payment", "inventory"].flatMap((service) => ["--upstream", `${service}:0`]),
    command: program("shop-client.js"),
  });
  const lines = said.split("\n").filter((line) => /^(payment|inventory) /.test(line));
  console.log(lines.join("\n"));
  if (lines.length !== 5) throw new Error(`the shop said: ${said}`);
});
