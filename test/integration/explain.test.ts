// # runs beside others
/** Real processes: what `remora explain` says of a request is what becomes of it. */
import t from "tap";
import { startMesh } from "../support/cli-mesh.js";
import { call } from "../support/http-load.js";
import { until } from "../support/until.js";

const mesh = await startMesh(t);
const api = await mesh.join({ name: "api", service: "api" });
const web = await mesh.join({ name: "web", service: "web", upstreams: ["api"], command: [] });
await mesh.untilKnown(web, "api", [api]);
await mesh.apply(`
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: api}
spec:
  parentRefs: [{group: "", kind: Service, name: api}]
  rules:
  - matches: [{path: {type: PathPrefix, value: /v1}}]
    backendRefs: [{name: api}]
    timeouts: {request: 7s}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: no-deletes}
spec:
  selector: {matchLabels: {app: api}}
  action: DENY
  rules: [{to: [{operation: {methods: [DELETE]}}]}]
`);

const ask = (method: string, path: string) => call({ port: web.upstreams.get("api") ?? 0, method, path });
await until("the route and the policy", async () => {
  const [deleted, elsewhere] = [await ask("DELETE", "/v1/x"), await ask("GET", "/elsewhere")];
  return deleted.status === 403 && elsewhere.status === 404;
});

const rows = [
  {
    method: "GET",
    path: "/v1/x",
    status: 200,
    says: /HTTPRoute\/default\/api .*timeout 7s[^]*authorization +allowed/,
  },
  {
    method: "DELETE",
    path: "/v1/x",
    status: 403,
    says: /authorization +denied by .*no-deletes[^]*DENY\): rule .* matches/,
  },
  { method: "GET", path: "/elsewhere", status: 404, says: /none matches: the caller gets 404 no_route/ },
];
for (const { method, path, status, says } of rows)
  t.test(`${method} ${path}: ${status}`, async (t) => {
    const { code, out, err } = await mesh.remora(["explain", "web", "api", method, path]);
    t.equal(code, 0, err);
    t.match(out, says);
    t.equal((await ask(method, path)).status, status);
  });
