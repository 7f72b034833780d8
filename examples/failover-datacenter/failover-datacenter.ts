/**
 * `make example NAME=failover-datacenter`: two Consul servers, joined over WAN. All of a service is broken in the own datacenter; the
 * other one answers, also while its Consul is away, and the caller sees nothing of it.
 */
import { readFile } from "node:fs/promises";
import path from "node:path";
import { startConsul } from "../consul-server.js";
import { freePorts } from "../demo/free-ports.js";
import { run, stop, until } from "../demo/processes.js";
import { call } from "../demo/traffic.js";
import { answererOf, expectAnswerer } from "../answerers.js";
import { show, type Instance } from "../small-mesh.js";

const program = (file: string) => () => [process.execPath, path.join(import.meta.dirname, file)];
const policy = path.resolve(import.meta.dirname, "../../../examples/failover-datacenter/api.yaml");
const [nearPort = 0, farPort = 0] = await freePorts(2);
const near = ["--consul", `http://127.0.0.1:${nearPort}`];
const far = ["--consul", `http://127.0.0.1:${farPort}`];

let stopFar = async (): Promise<void> => undefined;

/** Two datacenters that know each other; the control plane asks the near one of them. */
async function startDatacenters(dir: string): Promise<readonly string[]> {
  const joinWan = await startConsul(dir, { port: nearPort, datacenter: "dc1" });
  const { process } = await startConsul(dir, { port: farPort, datacenter: "dc2", joinWan });
  stopFar = () => stop(process);
  await until("two datacenters that know each other", 20_000, async () =>
    (await call(nearPort, "/v1/catalog/datacenters")).body.includes("dc2") ? true : undefined,
  );
  return near;
}

await show(async (mesh) => {
  const serve = (name: string, flags: readonly string[]): Promise<Instance> =>
    mesh.serve({ name, service: "api", command: program("../plain-service.js"), flags });
  const [own, web] = await Promise.all([
    serve("api-dc1", near),
    mesh.serve({
      name: "web-1",
      service: "web",
      command: program("../passing-service.js"),
      flags: [...near, "--upstream", "api:0"],
    }),
    // Where sidecars in other datacenters reach it.
    serve("api-dc2", [...far, "--advertise-wan", "127.0.0.1"]),
  ]);
  await mesh.untilKnown(web, "api", 1);
  console.log(await mesh.apply(await readFile(policy, "utf8")));
  const untilStatus = (text: string): Promise<string> =>
    until(`status: ${text}`, 20_000, async () => {
      const status = await run(["status", ...mesh.client]);
      return status.split("\n").find((line) => line.includes(text));
    });
  console.log(await untilStatus("dc2, current, api.default: 1 of 1 instances well"));
  await until("dc2 at web", 10_000, async () =>
    (await call(web.admin, "/clusters")).body.includes("api.default@dc2::127.0.0.1:") ? true : undefined,
  );

  await expectAnswerer(web, "all is well", "api-dc1");
  await call(own.port, "/break");
  await expectAnswerer(web, "all of api is broken in dc1", "api-dc2");
  await stopFar();
  console.log(await untilStatus("dc2, stale"));
  await expectAnswerer(web, "the Consul of dc2 is away as well", "api-dc2");
  await call(own.port, "/mend");
  await until("an answer of dc1", 10_000, async () =>
    (await answererOf(web)) === "api-dc1" ? true : undefined,
  );
  console.log("mended: api-dc1 answers again");
}, startDatacenters);
