/** Tokens of the admin API with their roles, and the log of what was changed by whom. */
import { readFileSync, rmSync, statSync, symlinkSync, writeFileSync, chmodSync } from "node:fs";
import path from "node:path";
import t from "tap";
import { openAdminTokens } from "../../../control-plane/admin/admin-tokens.js";
import { openAuditLog, type AuditEntry } from "../../../control-plane/admin/audit-log.js";
import type { ControlPlane } from "../../../control-plane/index.js";
import { FakeClock } from "../../support/fake-clock.js";
import { until } from "../../support/until.js";
import { askAdmin, joinMesh, startMeshHead, type AdminReply } from "../../support/started-control-plane.js";

const policy = (timeout: string): string => `
apiVersion: remora.mesh/v1
kind: TrafficPolicy
metadata: {name: api}
spec:
  targetRefs: [{kind: Service, name: api}]
  connectionPool: {connectTimeout: ${timeout}}
`;

async function tokenOf(mesh: ControlPlane, role: string, name: string): Promise<string> {
  const { status, json } = await askAdmin(mesh, "POST", "/v1/admin-tokens", { body: { role, name } });
  if (status !== 201) throw new Error(`no token: ${status} ${JSON.stringify(json)}`);
  return String(json["token"]);
}

const audit = async (mesh: ControlPlane): Promise<readonly AuditEntry[]> =>
  (await askAdmin(mesh, "GET", "/v1/audit")).json["entries"] as readonly AuditEntry[];

t.test("each role may do what it says, and no more", async (t) => {
  const mesh = await startMeshHead(t, path.join(t.testdir(), "data"));
  const { serial } = await joinMesh(mesh, "web");
  const tokens = {
    view: await tokenOf(mesh, "view", "dashboard"),
    apply: await tokenOf(mesh, "apply", "ci"),
    admin: await tokenOf(mesh, "admin", "grace"),
  };
  const body = policy("2s");
  const requests: readonly (readonly [
    method: string,
    target: string,
    needed: keyof typeof tokens,
    body?: unknown,
  ])[] = [
    ["GET", "/v1/status", "view"],
    ["GET", "/v1/sidecars", "view"],
    ["GET", "/v1/services", "view"],
    ["GET", "/v1/bundle", "view"],
    ["GET", "/v1/documents", "view"],
    ["GET", "/v1/certificates", "view"],
    ["GET", "/v1/served-certificates", "view"],
    ["GET", "/v1/ca", "view"],
    ["GET", "/v1/federation", "view"],
    ["GET", "/v1/calls", "view"],
    ["GET", "/v1/policy/suggestion/default/api", "view"],
    ["GET", "/v1/explain?caller=web&service=api&method=GET&path=/", "view"],
    ["POST", "/v1/policy/test", "view", { documents: body }],
    ["POST", "/v1/documents?dryRun=true", "apply", body],
    ["POST", "/v1/documents", "apply", body],
    ["DELETE", "/v1/documents/TrafficPolicy/default/api", "apply"],
    ["POST", "/v1/tokens", "admin", { service: "api" }],
    ["POST", "/v1/certificates/revoke", "admin", { serial, reason: "test" }],
    ["POST", "/v1/ca/rotate", "admin", { do: "prepare" }],
    ["POST", "/v1/federation", "admin", { trustDomain: "other.example", endpoint: "https://127.0.0.1:1/" }],
    ["DELETE", "/v1/federation/other.example", "admin"],
    ["POST", "/v1/admin-tokens", "admin", { name: "new", role: "view" }],
    ["DELETE", "/v1/admin-tokens/new", "admin"],
    ["GET", "/v1/admin-tokens", "admin"],
    ["GET", "/v1/audit", "admin"],
  ];
  const order = ["view", "apply", "admin"] as const;
  for (const [method, target, needed, content] of requests) {
    for (const role of order) {
      const options = { token: tokens[role], ...(content === undefined ? {} : { body: content }) };
      const answer: AdminReply = await askAdmin(mesh, method, target, options);
      const may = order.indexOf(role) >= order.indexOf(needed);
      if (may)
        t.match(String(answer.status), /^(20[01]|404)$/, `${role}: ${method} ${target}: ${answer.text}`);
      else
        t.match(answer, {
          status: 403,
          json: { error: new RegExp(`has role ${role}, and this needs role ${needed}$`) },
        });
    }
  }
});

t.test("tokens are hashed at rest, expire, and can be revoked", async (t) => {
  const clock = new FakeClock();
  const file = path.join(t.testdir(), "admin-tokens.json");
  const owner = { file: "", isToken: (text: string) => text === "root" };
  const tokens = await openAdminTokens({ file, owner, clock });
  const { token } = await tokens.create({ name: "ci", role: "apply", ttlMs: 60_000 });
  t.match(token, /^rma1\.[\w-]{43}$/);
  t.equal(statSync(file).mode & 0o777, 0o600);
  t.notOk(readFileSync(file, "utf8").includes(token.slice(5)), "only the hash");
  t.same(tokens.identify(token), { name: "ci", role: "apply" });
  t.same(tokens.identify("root"), { name: "admin.token", role: "admin" });
  t.equal(tokens.identify(`${token}x`), undefined);
  t.equal(tokens.identify(""), undefined);
  t.match((await openAdminTokens({ file, owner, clock })).identify(token), { name: "ci" }, "after a restart");
  await t.rejects(tokens.create({ name: "ci", role: "view", ttlMs: 60_000 }), {
    message: /there is an admin token ci/,
  });
  for (const wrong of [
    { name: "admin.token" },
    { name: "a b" },
    { name: "" },
    { ttlMs: 1 },
    { ttlMs: 1e12 },
    { ttlMs: NaN },
  ])
    t.throws(() => void tokens.create({ name: "x", role: "view", ttlMs: 60_000, ...wrong }), {
      name: "ConfigError",
    });
  t.equal(await tokens.revoke("nobody"), false);
  clock.advance(60_000);
  t.equal(tokens.identify(token), undefined, "expired");
  t.match(tokens.list(), [{ name: "ci", role: "apply" }], "still listed");
  const { token: second } = await tokens.create({ name: "ci", role: "admin", ttlMs: 60_000 });
  t.match(tokens.identify(second), { role: "admin" });
  t.equal(await tokens.revoke("ci"), true);
  t.equal(tokens.identify(second), undefined);
  t.same(tokens.list(), []);
  for (const text of ["{", "null", '{"version":1,"tokens":[{"name":"x","role":"root"}]}']) {
    writeFileSync(file, text);
    await t.rejects(openAdminTokens({ file, owner, clock }), { name: "ConfigError", message: /is damaged/ });
  }
  chmodSync(file, 0o644);
  await t.rejects(openAdminTokens({ file, owner, clock }), { message: /chmod 600/ });
});

t.test("every change is in the audit log, with who and what, and no secret", async (t) => {
  const dataDir = path.join(t.testdir(), "data");
  const mesh = await startMeshHead(t, dataDir);
  const ci = await tokenOf(mesh, "apply", "ci");
  const apply = (timeout: string) =>
    askAdmin(mesh, "POST", "/v1/documents", { body: policy(timeout), token: ci });
  await apply("2s");
  await apply("3s");
  await apply("3parsecs");
  await askAdmin(mesh, "POST", "/v1/tokens", { body: { service: "web" }, token: ci });
  const { json } = await askAdmin(mesh, "POST", "/v1/tokens", { body: { service: "web" } });
  await askAdmin(mesh, "DELETE", "/v1/documents/TrafficPolicy/default/api", { token: ci });
  await askAdmin(mesh, "GET", "/v1/status", { token: ci });
  await askAdmin(mesh, "POST", "/v1/documents", { body: policy("4s"), token: "rma1.wrong" });
  const entries = [...(await audit(mesh))].reverse();
  const document = { kind: "TrafficPolicy", namespace: "default", name: "api" };
  const version = /^[0-9a-f]{12}$/;
  t.match(entries, [
    {
      who: "admin.token",
      role: "admin",
      request: "POST /v1/admin-tokens",
      status: 201,
      what: { created: { name: "ci" } },
    },
    {
      who: "ci",
      role: "apply",
      from: "127.0.0.1",
      status: 200,
      what: { applied: [{ ...document, action: "created", version }] },
    },
    { who: "ci", status: 200, what: { applied: [{ action: "configured", version }] } },
    { who: "ci", request: "POST /v1/documents", status: 422, what: /parsecs/ },
    { who: "ci", request: "POST /v1/tokens", status: 403, what: /needs role admin/ },
    { who: "admin.token", request: "POST /v1/tokens", status: 201, what: { joinToken: { service: "web" } } },
    { who: "ci", status: 200, what: { deleted: { ...document, version } } },
  ]);
  t.equal(entries.length, 7, "neither what was only looked at, nor what strangers tried");
  const file = readFileSync(path.join(dataDir, "audit.jsonl"), "utf8");
  for (const secret of [ci, String(json["token"])]) t.notOk(file.includes(secret.slice(5, 30)));
});

t.test(
  "the log names the step of a rotation, whom we believe, and what was edited in the folder",
  async (t) => {
    const dataDir = path.join(t.testdir(), "data");
    const mesh = await startMeshHead(t, dataDir);
    const other = { trustDomain: "other.example", endpoint: "https://127.0.0.1:1/" };
    t.match(await askAdmin(mesh, "POST", "/v1/federation", { body: other }), { status: 201 });
    t.match(await askAdmin(mesh, "DELETE", "/v1/federation/other.example"), { status: 200 });
    t.match(await askAdmin(mesh, "POST", "/v1/ca/rotate", { body: { do: "prepare" } }), { status: 200 });
    t.match(await askAdmin(mesh, "POST", "/v1/ca/rotate", { body: { do: "activate", force: true } }), {
      status: 200,
    });
    writeFileSync(path.join(dataDir, "policies", "by-hand.yaml"), policy("2s"));
    await until("the edit in the log", async () => (await audit(mesh)).length === 5);
    t.match(await audit(mesh), [
      {
        who: "policy folder",
        role: "",
        request: "edit of by-hand.yaml",
        what: {
          edited: [{ action: "created", kind: "TrafficPolicy", name: "api", version: /^[0-9a-f]{12}$/ }],
        },
      },
      { who: "admin.token", what: { rotation: { do: "activate", isForced: true } } },
      { who: "admin.token", what: { rotation: { do: "prepare" } } },
      { who: "admin.token", what: { noLongerFederated: "other.example" } },
      { who: "admin.token", what: { federated: { ...other, endpointSpiffeId: null } } },
    ]);
  },
);

t.test("a policy that is broken while the control plane is down stays in force", async (t) => {
  const dataDir = path.join(t.testdir(), "data");
  const first = await startMeshHead(t, dataDir);
  await askAdmin(first, "POST", "/v1/documents", { body: policy("2s") });
  await first.close();
  writeFileSync(path.join(dataDir, "policies", "TrafficPolicy.default.api.yaml"), policy("2parsecs"));
  const second = await startMeshHead(t, dataDir);
  t.match((await askAdmin(second, "GET", "/v1/documents")).text, /connectTimeout: 2s/);
  t.match((await askAdmin(second, "GET", "/v1/status")).json, {
    problems: [{ file: "TrafficPolicy.default.api.yaml", message: /parsecs/ }],
  });
});

t.test("what cannot be recorded is not done", async (t) => {
  const dataDir = path.join(t.testdir(), "data");
  const mesh = await startMeshHead(t, dataDir);
  const file = path.join(dataDir, "audit.jsonl");
  symlinkSync("/dev/full", file);
  const apply = (timeout: string) => askAdmin(mesh, "POST", "/v1/documents", { body: policy(timeout) });
  t.match(await apply("2s"), {
    status: 500,
    json: { error: /the change was made, but it could not be recorded: .*ENOSPC/ },
  });
  t.match(await apply("3s"), {
    status: 503,
    json: { error: /nothing was changed, as it could not be recorded: .*free space/ },
  });
  const shown = await askAdmin(mesh, "GET", "/v1/documents");
  t.match(shown.text, /connectTimeout: 2s/);
  rmSync(file);
  t.match(await apply("3s"), { status: 200 });
  t.match(await audit(mesh), [{ status: 200 }, { status: 200 }], "the first one was written late");
});

t.test("the log keeps ninety days", async (t) => {
  const clock = new FakeClock();
  const log = openAuditLog(t.testdir(), clock);
  const entry = { who: "ci", role: "apply", from: "", request: "", status: 200, what: null };
  for (let n = 0; n < 3; n++) await log.record({ ...entry, at: new Date(clock.wallMs() + n).toISOString() });
  t.equal((await log.newest(2)).length, 2);
  t.equal((await log.newest(2))[0]?.at, new Date(clock.wallMs() + 2).toISOString());
});
