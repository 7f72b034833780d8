/** `make example NAME=isolation`: three times the load that a service can bear, and what becomes of each class of requests. */
import { readFile } from "node:fs/promises";
import path from "node:path";
import { show } from "../small-mesh.js";

const program = (file: string) => () => [process.execPath, path.join(import.meta.dirname, file)];
const documents = path.resolve(import.meta.dirname, "../../../examples/isolation/isolation.yaml");

interface Result {
  readonly sent: number;
  readonly ok: number;
  readonly shed: number;
  readonly p99: number;
}

await show(async (mesh) => {
  await mesh.serve({ name: "orders", service: "orders", command: program("orders.js") });
  await mesh.untilRegistered(1);
  console.log(await mesh.apply(await readFile(documents, "utf8")));
  const said = await mesh.runToEnd({
    name: "shop",
    service: "shop",
    flags: ["--upstream", "orders:0"],
    command: program("shop.js"),
  });
  const line = said.split("\n").find((text) => text.startsWith('{"critical"')) ?? "";
  const results = JSON.parse(line) as Readonly<Record<"critical" | "default" | "batch", Result>>;
  const share = ({ sent, ok }: Result): number => (100 * ok) / sent;
  for (const [name, result] of Object.entries(results))
    console.log(
      `${name}: ${share(result).toFixed(1)} % of ${result.sent} answered, 99 of 100 within ${result.p99} ms, ${result.shed} shed`,
    );
  const { critical, default: usual, batch } = results;
  if (share(critical) < 99) throw new Error("critical requests suffered");
  if (share(usual) <= share(batch) || batch.shed === 0) throw new Error("batch was not the first to go");
  console.log("critical requests did not suffer, batch went first");
});
