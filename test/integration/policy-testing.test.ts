/** Real processes: what was called is known at the control plane, over its restart, and from all workers. */
import t from "tap";
import type { CallsView } from "../../control-plane/admin/call-views.js";
import type { SeenCall } from "../../control-plane/observation/call-table.js";
import { startMesh, type CliMesh } from "../support/cli-mesh.js";
import { until } from "../support/until.js";

const web = "spiffe://mesh.local/ns/default/svc/web";

async function observed(mesh: CliMesh, service: string): Promise<readonly SeenCall[]> {
  const { out } = await mesh.remora(["policy", "log", "--service", service, "--output", "json"]);
  return (JSON.parse(out) as CallsView).services.flatMap(({ calls }) => calls);
}

const countOf = (calls: readonly SeenCall[]): number => calls.reduce((sum, { count }) => sum + count, 0);

t.test("observed calls", async (t) => {
  const mesh = await startMesh(t);
  const flags = ["--observe-calls", "1s"];
  const caller = await mesh.join({ name: "web", service: "web", upstreams: ["api", "quiet"], flags });
  const api = await mesh.join({ name: "api", service: "api", flags: [...flags, "--workers", "2"] });
  const quiet = await mesh.join({ name: "quiet", service: "quiet", flags: ["--observe-calls", "off"] });
  await mesh.untilKnown(caller, "api", [api]);
  await mesh.untilKnown(caller, "quiet", [quiet]);
  const send = async (service: string, path: string, method = "GET"): Promise<void> => {
    const response = await fetch(`http://127.0.0.1:${caller.upstreams.get(service)}${path}`, { method });
    await response.arrayBuffer();
  };
  for (let id = 0; id < 40; id++) await send("api", `/users/${id}?token=secret`);
  await send("api", "/users", "DELETE");
  await send("quiet", "/count");

  await until("all calls of both workers", async () => countOf(await observed(mesh, "api")) === 41);
  const calls = await observed(mesh, "api");
  const common = { caller: web, port: api.app, protocol: "http", verdict: "allow", rule: "" };
  t.match(
    [...calls].sort((a, b) => (a.method < b.method ? -1 : 1)),
    [
      { ...common, method: "DELETE", path: "/users", count: 1 },
      { ...common, method: "GET", path: "/users/*", count: 40 },
    ],
  );
  t.notMatch(JSON.stringify(calls), /secret/);
  const { out } = await mesh.remora(["policy", "log"]);
  t.match(out, /^api\.default +web\.default +http +GET +\/users\/\* +allow +- +40 /m);
  t.same(await observed(mesh, "quiet"), [], "off: nothing is told");

  await mesh.controlPlaneProcess?.stop();
  await send("api", "/users/1");
  await mesh.startControlPlane();
  await until(
    "what was known, and what was called meanwhile",
    async () => countOf(await observed(mesh, "api")) === 42,
  );
  t.equal((await observed(mesh, "api")).length, 2);
});
