/** `make example NAME=load-balancing`: a canary by subset, and session affinity by a cookie. */
import { readFile } from "node:fs/promises";
import path from "node:path";
import { show } from "../small-mesh.js";

const folder = path.resolve(import.meta.dirname, "../../../examples/load-balancing");
const program = (file: string) => () => [process.execPath, path.join(import.meta.dirname, file)];

/** What shop-client.ts prints; counts by instance. */
interface Said {
  readonly everybody: Readonly<Record<string, number>>;
  readonly testers: Readonly<Record<string, number>>;
  readonly next: string;
  readonly strangers: number;
  readonly cookie: string;
  readonly returning: number;
}

await show(async (mesh) => {
  const plain = program("../plain-service.js");
  const reviews = (name: string, version: string) =>
    mesh.serve({ name, service: "reviews", command: plain, flags: ["--meta", `version=${version}`] });
  await Promise.all([
    reviews("reviews-1", "v1"),
    reviews("reviews-2", "v1"),
    reviews("reviews-3", "v2"),
    ...["cart-1", "cart-2", "cart-3"].map((name) => mesh.serve({ name, service: "cart", command: plain })),
  ]);
  await mesh.untilRegistered(6);
  console.log(await mesh.apply(await readFile(path.join(folder, "load-balancing.yaml"), "utf8")));
  const output = await mesh.runToEnd({
    name: "shop",
    service: "shop",
    flags: ["--upstream", "reviews:0", "--upstream", "cart:0"],
    command: program("shop-client.js"),
  });
  const line = output.split("\n").find((text) => text.startsWith('{"everybody"')) ?? "{}";
  const { everybody, testers, next, strangers, cookie, returning } = JSON.parse(line) as Said;
  const canary = everybody["reviews-3"] ?? 0;
  console.log("everybody:", everybody, "\ntesters:", testers);
  console.log(`canary: ${canary > 4 && canary < 50 ? "about a tenth" : `${canary} of 200`}`);
  console.log(`a subset without an instance: ${next}`);
  console.log(`without a cookie: ${strangers} instances; ${cookie}; with it: ${returning} instance`);
});
