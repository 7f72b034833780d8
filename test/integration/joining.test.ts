// # runs beside others
/** Real processes join: one token used twice at once, from standard input, with a pinned root, with an ACL token of Consul. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import t from "tap";
import { startMesh, type CliMesh, type Place } from "../support/cli-mesh.js";
import { runRemora, type Finished } from "../support/cli-process.js";
import { consulBinary, skipWithoutConsul, startConsulAgent } from "../support/consul-agent.js";
import { call } from "../support/http-load.js";
import { until } from "../support/until.js";

const fingerprintOf = (mesh: CliMesh): string => {
  const root = path.join(mesh.dataDir, "ca", "root.crt");
  const text = execFileSync("openssl", ["x509", "-in", root, "-noout", "-fingerprint", "-sha256"], {
    encoding: "utf8",
  });
  return text.trim();
};

/** The arguments of a place with another value for a flag; undefined takes the flag away. */
const withFlag = ({ args }: Place, flag: string, value: string | undefined): readonly string[] =>
  args.flatMap((arg, at) =>
    arg === flag || args[at - 1] === flag ? (value === undefined ? [] : [arg === flag ? arg : value]) : [arg],
  );

const briefly = (mesh: CliMesh, name: string, flags: readonly string[] = [], service = "shop") =>
  mesh.place({ name, service, command: ["true"], flags });

/** Everything that processes of this test's mesh have written, and what others see of them. */
function traces(mesh: CliMesh, pids: readonly number[]): string {
  const logs = readdirSync(mesh.dir).filter((file) => file.endsWith(".log"));
  return [
    ...logs.map((file) => readFileSync(path.join(mesh.dir, file), "utf8")),
    ...pids.flatMap((pid) =>
      ["cmdline", "environ"].map((file) => readFileSync(`/proc/${pid}/${file}`, "utf8")),
    ),
    readFileSync(path.join(mesh.dataDir, "tokens.json"), "utf8"),
    readFileSync(path.join(mesh.dataDir, "ca", "issued.jsonl"), "utf8"),
    readFileSync(path.join(mesh.dataDir, "audit.jsonl"), "utf8"),
  ].join("\n");
}

t.test("row 63: of several processes with one token, exactly one joins", async (t) => {
  const mesh = await startMesh(t);
  for (let round = 0; round < 2; round++) {
    const token = await mesh.token("shop");
    const places = await Promise.all([1, 2, 3, 4].map((n) => briefly(mesh, `shop-${round}-${n}`)));
    const ended = await Promise.all(
      places.map((place) => runRemora({ args: withFlag(place, "--token-file", token), env: place.env })),
    );
    t.same(ended.map(({ code }) => code).sort(), [0, 1, 1, 1], `round ${round}`);
    for (const { code, err } of ended) if (code !== 0) t.match(err, /^remora: .*join token was used already/);
  }
});

t.test("a token comes from a file or standard input, and is seen nowhere", async (t) => {
  const mesh = await startMesh(t);
  const token = readFileSync(await mesh.token("shop"), "utf8").trim();
  const place = await briefly(mesh, "shop-1");
  const args = withFlag(place, "--token-file", "-");
  const joined = await runRemora({ args, env: place.env, input: `${token}\n` });
  t.equal(joined.code, 0, joined.err);
  const empty = await briefly(mesh, "shop-2");
  t.match(await runRemora({ args: withFlag(empty, "--token-file", "-"), env: empty.env, input: "" }), {
    code: 1,
    err: /^remora: --token-file: standard input has no token/,
  });
  const long = await runRemora({
    args: withFlag(empty, "--token-file", "-"),
    env: empty.env,
    input: "x".repeat(1e6),
  });
  t.equal(long.code, 1);
  t.notMatch(long.err, /xxxx/);
  const again = await mesh.join({ name: "shop-3", service: "shop" });
  const own = readFileSync(again.args[again.args.indexOf("--token-file") + 1] ?? "", "utf8").trim();
  const pids = [again.process.pid, mesh.controlPlaneProcess?.pid ?? 0];
  const seen = traces(mesh, pids) + joined.out + joined.err;
  t.ok(seen.length > 2000, "there is something to look through");
  for (const text of [token, own]) t.notOk(seen.includes(text.split(".")[1] ?? "?"), "no secret of a token");
});

t.test("a pinned root: nothing is sent to a control plane that has another", async (t) => {
  const mesh = await startMesh(t);
  const token = await mesh.token("shop");
  const attempt = async (name: string, fingerprint: string): Promise<Finished> => {
    const place = await briefly(mesh, name, ["--ca-fingerprint", fingerprint]);
    return runRemora({ args: withFlag(place, "--token-file", token), env: place.env });
  };
  t.match(await attempt("shop-1", "ab".repeat(32)), {
    code: 1,
    err: /^remora: --ca-fingerprint: the join token is for a control plane with another root/,
  });
  t.match(await attempt("shop-2", "nonsense"), { code: 2, err: /is no SHA-256/ });
  t.match(await attempt("shop-3", fingerprintOf(mesh)), { code: 0 }, "the token was not used up before");
});

interface Acl {
  readonly file: string;
  readonly accessor: string;
}

t.test(
  "an ACL token of Consul proves what it may write, and no more",
  { skip: skipWithoutConsul() },
  async (t) => {
    t.ok(consulBinary());
    const agent = await startConsulAgent({ hasAcls: true });
    t.teardown(() => agent.stop());
    const ask = async (
      method: string,
      at: string,
      token: string,
      body?: unknown,
    ): Promise<Record<string, string>> => {
      const headers = { "x-consul-token": token };
      const init = { method, headers, ...(body === undefined ? {} : { body: JSON.stringify(body) }) };
      const response = await fetch(`${agent.url}/v1${at}`, init);
      if (!response.ok) throw new Error(`${method} ${at}: ${response.status} ${await response.text()}`);
      return (await response.json()) as Record<string, string>;
    };
    const { SecretID: root = "" } = await ask("PUT", "/acl/bootstrap", "");
    const secrets: string[] = [root];
    const acl = async (name: string, rules: string): Promise<Acl> => {
      await ask("PUT", "/acl/policy", root, { Name: name, Rules: rules }).catch(() => undefined);
      const made = await ask("PUT", "/acl/token", root, { Policies: [{ Name: name }] });
      secrets.push(made["SecretID"] ?? "");
      return { file: keep(name, made["SecretID"] ?? ""), accessor: made["AccessorID"] ?? "" };
    };
    const everything =
      'node_prefix "" { policy = "read" } service_prefix "" { policy = "read" } agent_prefix "" { policy = "read" }';
    const webRules = `${everything} service "web" { policy = "write" }`;
    const ofWeb = await acl("web", webRules);
    const reader = await acl("reader", everything);
    const mesh = await startMesh(t, {
      controlPlane: ["--consul", agent.url, "--consul-token-file", keep("root", root)],
    });
    const attempt = async (
      name: string,
      service: string,
      tokenFile: string,
      flags: readonly string[] = ["--ca-fingerprint", fingerprintOf(mesh)],
    ): Promise<Finished> => {
      const own = ["--join", "consul", "--consul-token-file", tokenFile, ...flags];
      const place = await briefly(mesh, name, own, service);
      return runRemora({ args: withFlag(place, "--token-file", undefined), env: place.env });
    };
    t.match(await attempt("web-1", "web", ofWeb.file), { code: 0 });
    const log = readFileSync(path.join(mesh.dataDir, "ca", "issued.jsonl"), "utf8");
    t.match(log, new RegExp(`svc/web".*"by":"consul","proof":"${ofWeb.accessor}"`));

    for (const [name, service, file, expected] of [
      ["api-1", "api", ofWeb.file, /ACL token may not write service api/],
      ["web-2", "web", reader.file, /ACL token may not write service web/],
      [
        "web-3",
        "web",
        keep("bogus", "11111111-2222-3333-4444-555555555555"),
        /Consul does not know the ACL token/,
      ],
      ["web-4", "web", keep("anonymous", "anonymous"), /proves nothing|does not know/],
      ["web-5", "web", keep("line", "a\r\nX-Consul-Token: b"), /no ACL token/],
      ["web-6", "web", keep("empty", ""), /no ACL token|neither a join token/],
    ] as const) {
      const { code, err } = await attempt(name, service, file);
      t.equal(code, 1, name);
      t.match(err, expected);
      t.equal(err.trim().split("\n").length, 1, err);
    }
    t.match(await attempt("web-7", "web", ofWeb.file, []), { code: 2, err: /give --ca-fingerprint/ });
    t.match(await attempt("web-8", "web", ofWeb.file, ["--ca-fingerprint", "ab".repeat(32)]), {
      code: 1,
      err: /root CA has another fingerprint/,
    });
    t.match(
      await attempt("web-9", "web", ofWeb.file, [
        "--namespace",
        "other",
        "--ca-fingerprint",
        fingerprintOf(mesh),
      ]),
      {
        code: 1,
        err: /namespace default only/,
      },
    );

    // Evicted: the token that it had lets it in no more, a new one does.
    const revoked = await mesh.remora(["cert", "revoke", "--service", "web", "--reason", "test"]);
    t.equal(revoked.code, 0, revoked.err);
    t.match(await attempt("web-10", "web", ofWeb.file), {
      code: 1,
      err: /ACL token is older than the last time/,
    });
    const renewed = await acl("web", webRules);
    t.match(await attempt("web-11", "web", renewed.file), { code: 0 });

    const seen = traces(mesh, [mesh.controlPlaneProcess?.pid ?? 0]);
    for (const secret of secrets)
      t.notOk(seen.includes(secret), "no ACL token in logs, files or the process list");
    await until(
      "the control plane is well",
      async () => (await call({ port: mesh.adminPort, path: "/ready" })).status === 200,
    );
  },
);

const folder = mkdtempSync(path.join(tmpdir(), "remora-joining-"));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));

/** A file with a secret. */
function keep(name: string, secret: string): string {
  const file = path.join(folder, `${name}-${readdirSync(folder).length}`);
  writeFileSync(file, secret, { mode: 0o600 });
  return file;
}
