/** `make example NAME=breakers`: an instance fails, then the whole service; then an operator drives the breakers by hand. */
import { readFile } from "node:fs/promises";
import path from "node:path";
import { run, until } from "../demo/processes.js";
import { call, type Answer } from "../demo/traffic.js";
import { show } from "../small-mesh.js";

const program = (file: string) => () => [process.execPath, path.join(import.meta.dirname, file)];
const policy = path.resolve(import.meta.dirname, "../../../examples/breakers/payment.yaml");

await show(async (mesh) => {
  const command = program("../plain-service.js");
  const first = await mesh.serve({ name: "payment-1", service: "payment", command });
  const second = await mesh.serve({ name: "payment-2", service: "payment", command });
  const flags = ["--upstream", "payment:0"];
  const shop = await mesh.serve({
    name: "shop-1",
    service: "shop",
    flags,
    command: program("../passing-service.js"),
  });
  await mesh.untilKnown(shop, "payment", 2);
  console.log(await mesh.apply(await readFile(policy, "utf8")));

  const pay = (): Promise<Answer> => call(shop.port, "/payment/");
  const breaker = (...words: readonly string[]): Promise<string> =>
    run(["breaker", ...words, "--admin-url", `http://127.0.0.1:${shop.admin}`]);
  /** Asks until the answer is as wanted. */
  const untilPaid = (what: string, isWanted: (answer: Answer) => boolean): Promise<Answer> =>
    until(what, 10_000, async () => {
      const answer = await pay();
      return isWanted(answer) ? answer : undefined;
    });
  const isOpen = ({ headers }: Answer): boolean => headers["x-remora-error"] === "circuit_open";

  await until("the policy at the shop", 10_000, async () =>
    /\(service\) +closed/.test(await breaker("list")) ? true : undefined,
  );
  await call(first.port, "/break");
  const statuses: number[] = [];
  for (let i = 0; i < 30; i++) statuses.push((await pay()).status);
  console.log("one instance is broken:", new Set(statuses), "\n" + (await breaker("list")));

  await call(second.port, "/break");
  const refused = await untilPaid("circuit_open", isOpen);
  console.log(`both are broken: ${refused.status} ${refused.body.trim()}`);

  await Promise.all([call(first.port, "/mend"), call(second.port, "/mend")]);
  await untilPaid("payments again", ({ status }) => status === 200);
  console.log("both are mended: payments again, without anybody's doing");

  console.log(await breaker("open", "payment", "--for", "10m"));
  console.log(`held open: ${(await pay()).body.trim()}`);
  console.log(await breaker("close", "payment", "--for", "1m"));
  const address = `127.0.0.1:${second.inbound}`;
  console.log(await breaker("isolate", "payment", "--endpoint", address, "--for", "5m"));
  const answers = new Set<string>();
  for (let i = 0; i < 20; i++) answers.add((await pay()).body.trim());
  console.log("payment-2 is isolated:", answers);
  console.log(await breaker("reset", "payment"));
  await untilPaid("payment-2 again", ({ body }) => body.startsWith("payment-2"));
  console.log("reset: payment-2 is back");
});
