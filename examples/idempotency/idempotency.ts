/** `make example NAME=idempotency`: a client that repeats a payment because it got no answer, and pays once. */
import { readFile } from "node:fs/promises";
import path from "node:path";
import { show } from "../small-mesh.js";

const program = (file: string) => () => [process.execPath, path.join(import.meta.dirname, file)];
const policy = path.resolve(import.meta.dirname, "../../../examples/idempotency/payments.yaml");

await show(async (mesh) => {
  await mesh.serve({ name: "payments-1", service: "payments", command: program("payments-server.js") });
  await mesh.untilRegistered(1);
  console.log(await mesh.apply(await readFile(policy, "utf8")));
  const said = await mesh.runToEnd({
    name: "shop",
    service: "shop",
    flags: ["--upstream", "payments:0"],
    command: program("shop.js"),
  });
  const lines = said.split("\n").filter((line) => /^(attempt|without|payments made)/.test(line));
  console.log(lines.join("\n"));
  if (!lines.includes("payments made: 1") || !/200 .*\(replayed\)/.test(said))
    throw new Error("the payment was not made exactly once");
});
