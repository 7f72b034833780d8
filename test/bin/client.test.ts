/** The commands that talk to a control plane, against a real one. */
import { readFileSync, statSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import path from "node:path";
import t from "tap";
import type { SidecarView } from "../../control-plane/admin/views.js";
import { startControlPlane, type ControlPlane } from "../../control-plane/app.js";
import { checkMesh, checkUnreachable, isPassed, type CheckSubject } from "../../bin/check-lines.js";
import { table } from "../../bin/output/table.js";
import { version } from "../../src/version.js";
import { FakeClock } from "../support/fake-clock.js";
import { remora as runRemora, type Ran } from "../support/scripted-terminal.js";

const route = (name: string, backend: string): string => `apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  name: ${name}
spec:
  parentRefs: [{ kind: Service, group: "", name: reviews }]
  rules:
    - backendRefs: [{ name: ${backend}, port: 80 }]
`;

t.test("against a control plane", async (t) => {
  const dir = t.testdir({
    "one.yaml": route("one", "reviews"),
    "typo.yaml": route("typo", "reviews").replace("backendRefs", "backendRef"),
    folder: { "a.yaml": route("a", "reviews"), "b.yml": route("b", "nowhere"), "notes.txt": "no document" },
    bare: { "notes.txt": "no document" },
    mixed: { "a.yaml": route("mixed", "reviews"), "b.yaml": "kind: Nonsense\n" },
  });
  const at = (...parts: readonly string[]): string => path.join(dir, ...parts);
  const dataDir = at("data");
  const running: ControlPlane = await startControlPlane({
    dataDir,
    listen: "127.0.0.1:0",
    admin: "127.0.0.1:0",
    logLevel: "silent",
  });
  t.teardown(() => running.close());
  const env = { REMORA_ADMIN_URL: `http://${running.adminAddress}`, REMORA_DATA_DIR: dataDir };
  const remora = (args: readonly string[], input = ""): Promise<Ran> => runRemora(args, { env, input });
  const json = async (args: readonly string[]): Promise<unknown> =>
    JSON.parse((await remora([...args, "-o", "json"])).out);

  await t.test("apply, get, delete", async (t) => {
    const dry = await remora(["apply", "-f", at("one.yaml"), "--dry-run"]);
    t.same([dry.code, dry.out], [0, "HTTPRoute/default/one created (dry run)\n"], dry.error);
    const absent = "service reviews.default is not in the registry";
    t.equal(
      dry.error,
      `remora: warning: HTTPRoute/default/one: ${absent}: only this route makes the name known\n` +
        `remora: warning: HTTPRoute/default/one: ${absent}: requests that fall to it are answered with 500\n`,
    );
    t.same(await json(["get", "httproute"]), [], "nothing was changed");
    t.match(
      (await remora(["get", "httproot"])).error,
      /^remora: unknown kind "httproot"/,
      "also of an empty store",
    );

    t.equal((await remora(["apply", "-f", at("one.yaml")])).out, "HTTPRoute/default/one created\n");
    t.equal(
      (await remora(["apply", "-f", "-"], route("one", "reviews"))).out,
      "HTTPRoute/default/one unchanged\n",
    );
    t.match(await json(["apply", "-f", at("folder")]), {
      dryRun: false,
      results: [
        { kind: "HTTPRoute", namespace: "default", name: "a", action: "created" },
        { name: "b", action: "created", warnings: [/reviews/, /nowhere\.default is not in the registry/] },
      ],
    });

    const typo = await remora(["apply", "-f", at("typo.yaml")]);
    t.equal(typo.code, 1);
    t.match(
      typo.error,
      /^remora: .*typo\.yaml:8:7: spec\.rules\.0: unknown field "backendRef"; did you mean "backendRefs"\?\n$/,
    );
    const mixed = await remora(["apply", "-f", at("mixed")]);
    t.equal(mixed.code, 1);
    t.match(mixed.error, /^remora: .*b\.yaml:1:7: .*Nonsense/);
    t.equal(
      (await remora(["get", "httproute", "mixed"])).code,
      1,
      "of two files with one mistake nothing is applied",
    );
    t.match(
      (await remora(["apply", "-f", at("none.yaml")])).error,
      /none\.yaml: cannot be read \(ENOENT\); check the path/,
    );
    t.match((await remora(["apply", "-f", at("bare")])).error, /has no \.yaml file; name another folder/);

    const { out } = await remora(["get", "httproutes", "-n", "default"]);
    t.match(out, /^KIND +NAMESPACE +NAME +ACCEPTED +RESOLVED +AGE +MESSAGE\n/);
    t.match(out, /^HTTPRoute +default +b +/m);
    const yaml = await remora(["get", "HTTPRoute", "one", "-o", "yaml"]);
    t.match(yaml.out, /^kind: HTTPRoute$/m);
    t.match(yaml.out, /^status:$/m, "with what became of it");
    t.equal((await remora(["get", "httproute", "-o", "yaml"])).out.split("\n---\n").length, 3);
    t.match(await json(["get", "httproute", "one"]), { kind: "HTTPRoute", name: "one" });
    t.match((await remora(["get", "httproot"])).error, /^remora: unknown kind "httproot"/);

    t.match((await remora(["delete", "httproute", "one"])).out, "HTTPRoute/default/one deleted\n");
    const gone = await remora(["delete", "httproute", "one"]);
    t.same(
      [gone.code, gone.error],
      [1, "remora: HTTPRoute/default/one does not exist; list them with remora get\n"],
    );
    writeFileSync(at("all.yaml"), `${route("a", "x")}---\n${route("one", "x")}---\n${route("b", "x")}`);
    const rest = await remora(["delete", "-f", at("all.yaml")]);
    t.equal(rest.code, 1, "one of them was not there");
    t.equal(rest.out, "HTTPRoute/default/a deleted\nHTTPRoute/default/b deleted\n", "the others are deleted");
  });

  await t.test("token create", async (t) => {
    const { code, out } = await remora(["token", "create", "--service", "web"]);
    t.equal(code, 0);
    t.match(out, /^rmr1\.[\w-]+\.[\w-]+\n$/, "the token alone, for scripts");
    const file = at("web.token");
    const kept = await remora([
      "token",
      "create",
      "--service",
      "web",
      "--ttl",
      "1m",
      "--uses",
      "3",
      "--out",
      file,
      "-o",
      "json",
    ]);
    t.match(JSON.parse(kept.out), { service: "web", namespace: "default", uses: 3, file });
    t.notMatch(kept.out, /rmr1/, "not shown when it is kept");
    t.equal(statSync(file).mode & 0o777, 0o600);
    t.match(readFileSync(file, "utf8"), /^rmr1\./);
    t.match(
      (await remora(["token", "create", "--service", "web", "--out", at("no", "file")])).error,
      /^remora: --out: cannot write .*ENOENT/,
    );
  });

  await t.test("status and check", async (t) => {
    await remora(["apply", "-f", at("folder", "b.yml")]);
    const status = await remora(["status"]);
    t.equal(status.code, 0);
    t.match(
      status.out,
      new RegExp(
        `^control plane +http://${running.adminAddress}, version ${version}, trust domain mesh.local`,
      ),
    );
    t.match(status.out, /no sidecar is connected; start one with remora run/);
    t.match(await json(["status"]), {
      controlPlane: { version, registry: { kind: "embedded" } },
      sidecars: [],
      services: [],
    });

    const check = await remora(["check"]);
    t.equal(check.code, 0, check.out);
    t.match(check.out, /^control plane\n-------------\nok control plane at /);
    t.match(check.out, /^!! HTTPRoute\/default\/b: .*nowhere.*\n {4}-> see remora get HTTPRoute b/m);
    t.match(check.out, /\nstatus check results are ok\n$/);

    writeFileSync(at("data", "policies", "broken.yaml"), "kind: HTTPRoute\nspec: {}\n");
    const failing = await remora(["check", "--wait", "0s"]);
    const wait =
      failing.code === 0
        ? await until(
            () => remora(["check"]),
            ({ code }) => code === 1,
          )
        : failing;
    t.equal(wait.code, 1);
    t.match(wait.out, /^XX .*broken\.yaml.*\n {4}-> correct the file/m);
    writeFileSync(at("data", "policies", "broken.yaml"), "");
    const waited = await remora(["check", "--wait", "20s", "-o", "json"]);
    t.equal(waited.code, 0, "--wait tries again until nothing fails");
    t.match(JSON.parse(waited.out), { passed: true });
  });

  await t.test("who may not ask", async (t) => {
    const stranger = path.join(dir, "stranger.token");
    writeFileSync(stranger, "rma1.wrong\n", { mode: 0o600 });
    const wrong = await remora(["status", "--admin-token-file", stranger]);
    t.same(
      [wrong.code, wrong.error],
      [
        1,
        "remora: wrong admin token; send the content of <data-dir>/admin.token as a bearer token (--admin-token-file)\n",
      ],
    );
    const open = path.join(dir, "open.token");
    writeFileSync(open, "rma1.wrong\n", { mode: 0o644 });
    t.match(
      (await remora(["status", "--admin-token-file", open])).error,
      /^remora: --admin-token-file: .* can be read by others .* chmod 600/,
    );
    const web = createServer((_request, response) => response.end("<html>"));
    await new Promise<void>((resolve) => web.listen(0, "127.0.0.1", resolve));
    t.teardown(() => web.close());
    const url = `http://127.0.0.1:${(web.address() as AddressInfo).port}`;
    t.match(
      (await remora(["status", "--admin-url", url])).error,
      "remora: --admin-url: answers without JSON and is no control plane; correct the address\n",
    );
    t.match(
      (await remora(["check", "--admin-url", "http://127.0.0.1:1"])).out,
      /^XX --admin-url: control plane http:\/\/127\.0\.0\.1:1 is unreachable \(ECONNREFUSED\)\n {4}-> start it with/m,
    );
  });
});

/** Asks again until the answer is right; the watch of the policy folder takes a moment. */
async function until<T>(ask: () => Promise<T>, accept: (answer: T) => boolean): Promise<T> {
  for (let attempt = 0; ; attempt++) {
    const answer = await ask();
    if (accept(answer) || attempt >= 200) return answer;
  }
}

t.test("check judges the mesh", async (t) => {
  const nowMs = new FakeClock().wallMs();
  const sidecar: SidecarView = {
    id: "web.default-10.0.0.1-80",
    service: "web",
    namespace: "default",
    address: "10.0.0.1",
    connectedAtMs: nowMs,
    state: "SYNCED",
    version: "1",
    ackedVersion: "1",
    trustVersion: "t",
    nackReason: null,
    lastAckAtMs: nowMs,
    certificateNotBeforeMs: nowMs - 300_000,
    certificateNotAfterMs: nowMs + 86_400_000,
    certificateSerial: "0A1B",
    certificateIssuer: "aa",
    hasRedis: null,
  };
  /** Of a day: what the certificate of its stream has left, when its port cannot be seen. */
  const streamLife = (left: number) => ({
    certificateNotBeforeMs: nowMs - (1 - left) * 86_400_000 - 300_000,
    certificateNotAfterMs: nowMs + left * 86_400_000,
  });
  const instance = {
    id: sidecar.id,
    address: "10.0.0.1",
    port: 80,
    meshPort: 2000,
    isMeshed: true,
    status: "passing",
    protocol: "http",
    weight: 1,
    zone: "",
  } as const;
  const root = {
    state: "valid",
    secondsLeft: 3650 * 86_400,
    notBefore: new Date(nowMs).toISOString(),
    notAfter: new Date(nowMs + 3650 * 86_400_000).toISOString(),
  } as CheckSubject["roots"][number];
  const registry = {
    kind: "consul",
    isRead: true,
    stale: null,
    services: 1,
    instances: 1,
    refused: [],
  } as const;
  const controlPlane = {
    version: "1",
    trustDomain: "m",
    trustVersion: "t",
    startedAtMs: 0,
    registry,
    documents: 0,
    problems: [],
    sidecars: 1,
  } as const;
  const good: CheckSubject = {
    url: "http://x",
    version: "1",
    nowMs,
    roots: [root],
    served: {
      controlPlane: { id: null, serial: null, notBeforeMs: null, notAfterMs: null },
      intermediates: [],
      sidecars: [],
      leftOut: 0,
    },
    documents: [],
    controlPlane,
    sidecars: [sidecar],
    services: [{ name: "web", namespace: "default", instances: [instance] }],
  };
  const lines = (change: Partial<CheckSubject>) =>
    checkMesh({ ...good, ...change }).flatMap((section) => section.lines);
  const withRegistry = (change: object) => ({
    controlPlane: { ...controlPlane, registry: { ...registry, ...change } },
  });
  t.ok(isPassed(checkMesh(good)));
  const seen = {
    instance: sidecar.id,
    service: "web.default",
    at: "10.0.0.1:2000",
    problem: null,
    isSeen: true,
  };
  const ofDay = { id: "x", serial: "0A1B", notBeforeMs: nowMs, notAfterMs: nowMs + 86_400_000 };
  const old = { ...good, sidecars: [{ ...sidecar, ...streamLife(0.1) }] };
  t.notOk(isPassed(checkMesh(old)), "its port was not seen: its stream tells");
  const shown = { controlPlane: ofDay, intermediates: [], sidecars: [{ ...seen, ...ofDay }], leftOut: 0 };
  t.ok(isPassed(checkMesh({ ...old, served: shown })), "what its port shows is what counts");
  const inConsul = {
    name: "web",
    namespace: "default",
    instances: [{ ...instance, id: `vm-1/${sidecar.id}` }],
  };
  t.same(lines({ services: [inConsul] }), lines({}), "Consul's ids have the machine before them");
  t.same(new Set(lines({}).map(({ state }) => state)), new Set(["ok"]));

  const speaking = (...protocols: readonly string[]) => ({
    services: [
      {
        name: "web",
        namespace: "default",
        instances: protocols.map((protocol) => ({ ...instance, protocol })),
      },
    ],
  });
  const deciding = (name: string, namespace: string) => ({
    documents: [
      {
        conditions: [],
        document: {
          kind: "TrafficPolicy",
          metadata: { name: "p", namespace },
          spec: { targetRefs: [{ kind: "Service", name }], protocol: "grpc" },
        },
      } as never,
    ],
  });
  const disagreement = /web\.default: instances declare different protocols \(grpc: .*; http: .*\)/;
  const isTold = (change: Partial<CheckSubject>): boolean =>
    lines(change).some(({ text }) => disagreement.test(text));
  t.notOk(isTold(speaking("grpc", "grpc")));
  t.notOk(isTold({ ...speaking("http", "grpc"), ...deciding("web", "default") }), "a policy has decided");
  t.ok(isTold({ ...speaking("http", "grpc"), ...deciding("web", "shop") }), "not for this service");
  t.ok(isTold({ ...speaking("http", "grpc"), ...deciding("api", "default") }), "nor this policy");

  const table: readonly [Partial<CheckSubject>, "warning" | "failed", RegExp][] = [
    [speaking("http", "grpc", "http"), "warning", disagreement],
    [withRegistry({ isRead: false }), "failed", /consul registry was not read yet/],
    [
      withRegistry({ stale: { sinceMs: nowMs - 5000, reason: "no leader" } }),
      "failed",
      /cannot be read since 5s: no leader/,
    ],
    [
      withRegistry({ refused: [{ service: "A b", reason: "bad name" }] }),
      "warning",
      /service A b is left out: bad name/,
    ],
    [
      {
        controlPlane: {
          ...controlPlane,
          problems: [{ file: "x.yaml", message: "x.yaml:1:1: bad" } as never],
        },
      },
      "failed",
      /x\.yaml:1:1: bad/,
    ],
    [{ roots: [{ ...root, state: "expired" }] }, "failed", /root CA is expired/],
    [{ served: undefined }, "warning", /does not tell which certificates are served/],
    [{ sidecars: [] }, "warning", /no sidecar is connected/],
    [{ sidecars: [{ ...sidecar, state: "STALE" }] }, "failed", /has not confirmed/],
    [{ sidecars: [{ ...sidecar, state: "NOT SENT" }] }, "failed", /has no configuration yet/],
    [
      { sidecars: [{ ...sidecar, state: "NACK", nackReason: "no cluster x" }] },
      "failed",
      /refuses .* keeps the one before: no cluster x/,
    ],
    [
      { sidecars: [{ ...sidecar, certificateNotAfterMs: nowMs }] },
      "failed",
      /certificate of web\..* has expired/,
    ],
    [
      { sidecars: [{ ...sidecar, ...streamLife(0.25) }] },
      "warning",
      /certificate of web\..* is valid for 6h only, 25 % of its life/,
    ],
    [{ sidecars: [{ ...sidecar, ...streamLife(0.1) }] }, "failed", /is valid for 2h only, 10 % of its life/],
    [{ services: [] }, "warning", /no service is registered/],
    [
      { services: [{ name: "web", namespace: "default", instances: [] }] },
      "warning",
      /web\.default has no instance/,
    ],
    [
      { services: [{ name: "web", namespace: "default", instances: [{ ...instance, isMeshed: false }] }] },
      "warning",
      /instance web\.default-10\.0\.0\.1-80 at 10\.0\.0\.1:80 has no sidecar/,
    ],
    [
      { services: [{ name: "web", namespace: "default", instances: [{ ...instance, id: "other" }] }] },
      "warning",
      /sidecar of other is not connected/,
    ],
    [
      { services: [{ name: "web", namespace: "default", instances: [{ ...instance, status: "critical" }] }] },
      "failed",
      /no instance that takes requests/,
    ],
    [{ version: "2" }, "warning", /command has version 2, the control plane 1/],
  ];
  for (const [change, state, text] of table) {
    const found = lines(change).find((line) => text.test(line.text));
    t.equal(found?.state, state, String(text));
    t.ok(found?.fix !== undefined && found.fix.length > 10, `${String(text)} says what to do`);
    t.equal(isPassed(checkMesh({ ...good, ...change })), state !== "failed");
  }
  t.same(checkUnreachable("a: gone; start it"), [
    { title: "control plane", lines: [{ state: "failed", text: "a: gone", fix: "start it" }] },
  ]);
});

t.test("tables are plain, and what peers say cannot move the cursor", async (t) => {
  t.equal(
    table(
      ["A", "LONG"],
      [
        ["xyz", ""],
        ["", "\x1b[2Jq"],
      ],
    ),
    "A    LONG\nxyz  -\n-    \\x1b[2Jq\n",
  );
});
