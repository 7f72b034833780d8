/** `make example NAME=policy-rollout`: observe, suggest, test, try out, enforce. No call that there was before is refused. */
import path from "node:path";
import { run, runToCode, until } from "../demo/processes.js";
import { show } from "../small-mesh.js";

const program = (file: string) => () => [process.execPath, path.join(import.meta.dirname, file)];
const draft = path.resolve(import.meta.dirname, "../../../examples/policy-rollout/draft.yaml");

await show(async (mesh) => {
  const remora = (...args: readonly string[]): Promise<string> => run([...args, ...mesh.client]);
  const send = async (service: string, ...wishes: readonly string[]): Promise<string> => {
    const flags = ["--upstream", "orders:0"];
    const command = () => [...program("orders-client.js")(), ...wishes];
    const said = await mesh.runToEnd({ name: `${service}-${turn++}`, service, flags, command });
    return said
      .split("\n")
      .filter((line) => /^(GET|POST) /.test(line))
      .join(", ");
  };
  let turn = 1;
  const observe = ["--observe-calls", "1s"];
  await mesh.serve({
    name: "orders-1",
    service: "orders",
    flags: observe,
    command: program("../plain-service.js"),
  });
  await mesh.untilRegistered(1);

  console.log("1. Observe: each sidecar counts what its application is asked.");
  await send("shop", "GET:/orders/17", "GET:/orders/18?token=secret", "POST:/orders");
  await send("backup", "GET:/export");
  await until("all calls at the control plane", 15_000, async () => {
    const log = await remora("policy", "log", "--service", "orders");
    return log.split("\n").length === 4 ? log : undefined;
  }).then(console.log);

  console.log("\n2. A policy written from memory, tested by what was observed:");
  const trial = await runToCode(["policy", "test", "-f", draft, ...mesh.client]);
  console.log(trial.output);
  console.log(`exit code ${trial.code}`);

  console.log("\n3. What the traffic itself suggests:");
  const suggested = await remora("policy", "suggest", "--service", "orders");
  console.log(suggested);

  console.log("\n4. Tried out: it decides nothing, and what it would refuse is counted.");
  console.log(await mesh.apply(suggested));
  const meanwhile = await send("stranger", "GET:/orders/17");
  console.log(`stranger: ${meanwhile}`);
  await until("the stranger's call", 15_000, async () => {
    const log = await remora("policy", "log", "--service", "orders");
    return log.split("\n").find((line) => /stranger.* audit /.test(line));
  }).then(console.log);

  console.log("\n5. Enforced:");
  const enforced = suggested.replace(/^ *mode: audit\n/m, "");
  console.log(await mesh.apply(enforced));
  console.log(`stranger: ${await untilRefused(() => send("stranger", "GET:/orders/17"))}`);
  console.log(`shop: ${await send("shop", "GET:/orders/19", "POST:/orders")}`);
  console.log(`backup: ${await send("backup", "GET:/export")}`);
});

/** Sidecars have the change within a second. */
function untilRefused(send: () => Promise<string>): Promise<string> {
  return until("a refusal", 15_000, async () => {
    const said = await send();
    return said.endsWith("403") ? said : undefined;
  });
}
