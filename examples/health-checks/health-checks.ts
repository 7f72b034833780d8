/** `make example NAME=health-checks`: instances are found broken, and well again, without a single request of an application. */
import { readFile, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { until } from "../demo/processes.js";
import { call } from "../demo/traffic.js";
import { endpointStates, show, type Instance } from "../small-mesh.js";

const program = (file: string) => () => [process.execPath, path.join(import.meta.dirname, file)];
const policies = path.resolve(import.meta.dirname, "../../../examples/health-checks/checks.yaml");
const services = ["prices", "greeter", "ledger"];

await show(async (mesh) => {
  // The callers' sidecars must know what is spoken before the first instance is there.
  console.log(await mesh.apply(await readFile(policies, "utf8")));
  const env = { BROKEN_FILE: path.join(mesh.dir, "broken") };
  const serve = (
    name: string,
    service: string,
    file: string,
    ...flags: readonly string[]
  ): Promise<Instance> => mesh.serve({ name, service, command: program(file), flags, env });
  const prices = await serve("prices-1", "prices", "../plain-service.js");
  await serve("greeter-1", "greeter", "greeter-server.js", "--protocol", "grpc");
  await serve("ledger-1", "ledger", "ledger-server.js", "--protocol", "tcp");
  const shop = await mesh.serve({
    name: "shop-1",
    service: "shop",
    flags: services.flatMap((service) => ["--upstream", `${service}:0`]),
    command: program("../passing-service.js"),
  });

  /** Waits until the shop's sidecar says this of all three. */
  const untilAll = async (what: string, isWanted: (state: string) => boolean): Promise<void> => {
    for (const service of services) {
      const state = await until(`${service} ${what}`, 20_000, async () => {
        const [only] = await endpointStates(shop, service);
        return only !== undefined && isWanted(only) ? only : undefined;
      });
      console.log(`${what}: ${service} ${state}`);
    }
  };
  await untilAll("well", (state) => state === "healthy");
  await Promise.all([call(prices.port, "/break"), writeFile(env.BROKEN_FILE, "")]);
  await untilAll("broken", (state) => state.startsWith("/failed_active_hc"));
  await Promise.all([call(prices.port, "/mend"), rm(env.BROKEN_FILE)]);
  await untilAll("mended", (state) => state === "healthy");
});
