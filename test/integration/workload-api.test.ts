// # runs beside others
/** Real processes: applications that take their own identity from the sidecar, and use it. */
import { execFile } from "node:child_process";
import { createPublicKey, verify, X509Certificate } from "node:crypto";
import { existsSync } from "node:fs";
import path from "node:path";
import { promisify } from "node:util";
import t from "tap";
import { startMesh } from "../support/cli-mesh.js";
import { runRemora } from "../support/cli-process.js";
import { pythonWith, skipWithoutPython } from "../support/python.js";
import { until } from "../support/until.js";
import { firstOf, WorkloadClient } from "../support/workload-client.js";

// Processes start and certificates rotate: more than the 30 s that a file has.
const longestMs = 120_000;
t.setTimeout(longestMs);
t.comment(`timeout=${longestMs}`);

const run = promisify(execFile);
const web = "spiffe://mesh.local/ns/default/svc/web";
const mesh = await startMesh(t, { controlPlane: ["--leaf-ttl", "8s"] });
const [caller, api] = await Promise.all([
  mesh.join({ name: "web", service: "web", flags: ["--workload-api", "on"] }),
  mesh.join({ name: "api", service: "api" }),
]);
const socket = path.join(caller.stateDir, "workload.sock");
const client = new WorkloadClient(socket);
t.teardown(() => client.close());

t.test("each rotation of the certificate reaches the stream", async (t) => {
  const stream = client.x509Svids();
  stream.on("error", () => undefined);
  const serials = new Set<string>();
  for await (const { svids } of stream) {
    const leaf = new X509Certificate(svids[0]?.x509_svid ?? "");
    t.equal(leaf.subjectAltName, `URI:${web}`);
    t.ok(leaf.verify(new X509Certificate(svids[0]?.bundle ?? "").publicKey));
    if (serials.add(leaf.serialNumber).size === 3) break;
  }
  t.equal(serials.size, 3);
});

interface JsonKey {
  readonly kid: string;
  readonly use: string;
}

t.test("a JWT-SVID is signed by a published key, kept, and validated", async (t) => {
  const keys = await until(
    "the keys of the control plane",
    async (): Promise<readonly JsonKey[] | undefined> => {
      const { bundles } = await firstOf(client.jwtBundles());
      const set = JSON.parse(String(bundles["spiffe://mesh.local"])) as { readonly keys: readonly JsonKey[] };
      return set.keys.length > 0 ? set.keys : undefined;
    },
  );
  const token = (await client.jwtSvids(["reports"])).get(web) ?? "";
  const [head = "", payload = "", signature = ""] = token.split(".");
  const { kid } = JSON.parse(Buffer.from(head, "base64url").toString()) as { readonly kid: string };
  const jwk = keys.find((key) => key.kid === kid);
  t.equal(jwk?.use, "jwt-svid");
  const key = {
    key: createPublicKey({ key: { ...jwk }, format: "jwk" }),
    dsaEncoding: "ieee-p1363",
  } as const;
  t.ok(verify("sha256", Buffer.from(`${head}.${payload}`), key, Buffer.from(signature, "base64url")));
  t.match(JSON.parse(Buffer.from(payload, "base64url").toString()), { sub: web, aud: ["reports"] });
  t.equal((await client.jwtSvids(["reports"])).get(web), token, "the same within half of its life");
  t.equal((await client.validate("reports", token)).spiffe_id, web);
  await t.rejects(client.validate("payments", token), { code: 3 });
});

t.test("remora jwt prints one", async (t) => {
  const { code, out, err } = await runRemora({
    args: ["jwt", "--audience", "reports", "--socket", `unix://${socket}`],
  });
  t.equal(code, 0, err);
  t.equal((await client.validate("reports", out.trim())).spiffe_id, web);
  const env = { SPIFFE_ENDPOINT_SOCKET: "unix:///nowhere/workload.sock" };
  const failed = await runRemora({ args: ["jwt", "--audience", "reports"], env });
  t.equal(failed.code, 1);
  t.match(failed.err, /^remora: --socket: \/nowhere\/workload.sock: .*\n$/, "one line");
  t.equal((await runRemora({ args: ["jwt", "--socket", `unix://${socket}`] })).code, 2);
});

t.test("with workers, the main process serves it", async (t) => {
  const several = await mesh.join({
    name: "several",
    service: "several",
    flags: ["--workload-api", "on", "--workers", "2"],
  });
  const own = new WorkloadClient(path.join(several.stateDir, "workload.sock"));
  t.teardown(() => own.close());
  t.equal((await firstOf(own.x509Svids())).svids[0]?.spiffe_id, "spiffe://mesh.local/ns/default/svc/several");
  t.equal((await own.jwtSvids(["reports"])).size, 1);
});

t.test("Python's gRPC and TLS", { skip: skipWithoutPython("grpc") }, async (t) => {
  const script = path.resolve(import.meta.dirname, "../../../test/support/workload_peer.py");
  const { stdout } = await run(pythonWith("grpc"), [script, socket, String(api.inbound), "reports"]);
  const said = JSON.parse(stdout) as { readonly token: string };
  t.match(said, {
    id: web,
    peer: ["spiffe://mesh.local/ns/default/svc/api"],
    caller: web,
    unmarked: "INVALID_ARGUMENT",
  });
  t.equal((await client.validate("reports", said.token)).spiffe_id, web);
});

t.test(
  "the application finds the socket in its environment, and the socket goes with the sidecar",
  async (t) => {
    const show =
      'require("net").createServer().listen(process.env.PORT); console.log(process.env.SPIFFE_ENDPOINT_SOCKET)';
    const other = await mesh.join({
      name: "other",
      service: "other",
      flags: ["--workload-api", `unix://${mesh.dir}/own/workload.sock`],
      command: [process.execPath, "-e", show],
    });
    await until("its word", () =>
      Promise.resolve(other.process.log.includes(`unix://${mesh.dir}/own/workload.sock`)),
    );
    t.ok(existsSync(path.join(mesh.dir, "own", "workload.sock")));
    other.process.signal("SIGTERM");
    await other.process.exited;
    t.notOk(existsSync(path.join(mesh.dir, "own", "workload.sock")));
  },
);

t.test("a sidecar that was killed leaves a socket, which the next start replaces", async (t) => {
  await caller.process.kill();
  t.ok(existsSync(socket));
  mesh.run(caller);
  const again = new WorkloadClient(socket);
  t.teardown(() => again.close());
  const found = await until("an identity", () => firstOf(again.x509Svids()).catch(() => undefined));
  t.equal(found.svids[0]?.spiffe_id, web);
});
