// # runs beside others
/** Real processes: what was called is known at the control plane, over its restart, and from all workers; policies are judged by it. */
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
  const [caller, api, quiet] = await Promise.all([
    mesh.join({ name: "web", service: "web", upstreams: ["api", "quiet"], flags }),
    mesh.join({ name: "api", service: "api", flags: [...flags, "--workers", "2"] }),
    mesh.join({ name: "quiet", service: "quiet", flags: ["--observe-calls", "off"] }),
  ]);
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

  const suggestion = await mesh.remora(["policy", "suggest", "--service", "api", "--mode", "enforce"]);
  t.equal(suggestion.code, 0);
  t.match(suggestion.err, /warning: observed for \d+ s only/);
  const tested = (documents: string) => mesh.remora(["policy", "test", "-f", "-"], documents);
  t.match(await tested(suggestion.out), { code: 0, out: /nothing changes for 41 observed calls of 2 kinds/ });
  const withoutDelete = suggestion.out.replace("DELETE", "PUT");
  const harm = await tested(withoutDelete);
  t.equal(harm.code, 1);
  t.match(harm.out, /^api\.default +web\.default +DELETE +\/users +allowed -> denied +implicit-deny +1 /m);
  t.match(harm.out, /^1 of 2 kinds of calls change: calls that are let through now would be denied$/m);
  t.match(await tested(suggestion.out.replace("principals", "principal")), {
    code: 1,
    err: /^remora: -:\d+:\d+: .*did you mean "?principals/m,
  });
  const usage = { code: 2, err: /names no change; give -f FILE, --delete KIND\/NAME or --intentions FILE/ };
  t.match(await mesh.remora(["policy", "test"]), usage, "nothing to judge is a mistake of usage");
  t.match(await mesh.remora(["policy", "test", "--delete", "authorizationpolicy/none"]), {
    code: 1,
    err: /AuthorizationPolicy\/default\/none does not exist/,
  });
  t.match(await mesh.remora(["policy", "test", "--intentions", "-"], "{}"), {
    code: 1,
    err: /no entry of kind service-intentions|does not go by Consul's intentions/,
  });
  t.match(await mesh.remora(["policy", "test", "--intentions", "-"], "Kind = x"), {
    code: 1,
    err: /-: is not JSON; give what consul config read/,
  });
  t.match(
    (await mesh.remora(["policy", "suggest", "--service", "quiet"])).err,
    /no sidecar of quiet\.default has reported calls/,
  );
  t.same(
    ((await mesh.read("/v1/documents")) as { documents: unknown[] }).documents,
    [],
    "nothing was stored",
  );

  // Tried out: it lets through, and says so.
  await mesh.apply(withoutDelete.replace("action: ALLOW", "action: ALLOW\n  mode: audit"));
  await until("a call that would be refused", async () => {
    await send("api", "/users", "DELETE");
    return (await observed(mesh, "api")).some(
      ({ verdict, rule, method }) => verdict === "audit" && rule === "implicit-deny" && method === "DELETE",
    );
  });
  await mesh.apply(withoutDelete);
  await until("a refusal", async () => {
    await send("api", "/users", "DELETE");
    return (await observed(mesh, "api")).some(
      ({ verdict, rule }) => verdict === "deny" && rule === "implicit-deny",
    );
  });
  t.match((await tested(suggestion.out)).out, /denied -> allowed/, "back again");
  const deleted = await mesh.remora(["policy", "test", "--delete", "authorizationpolicy/api-callers"]);
  t.match(deleted, { code: 0, out: /denied -> allowed +no longer implicit-deny/ }, "deleted");
  t.equal((await mesh.remora(["delete", "authorizationpolicy", "api-callers"])).code, 0);

  const before = countOf(await observed(mesh, "api"));
  await mesh.controlPlaneProcess?.stop();
  await send("api", "/users/1");
  await mesh.startControlPlane();
  await until(
    "what was known, and what was called meanwhile",
    async () => countOf(await observed(mesh, "api")) > before,
  );
  t.equal((await mesh.remora(["policy", "test", "-f", "-"], suggestion.out)).code, 0);
});
