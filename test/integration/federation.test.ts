// # runs beside others
/** Two real meshes with CAs of their own: nobody of the other is believed until an operator says so, and then by name. */
import { readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import tls from "node:tls";
import t from "tap";
import { issueLeaf, loadAuthority, publicKeySpki, readPrivateKey, toPem } from "../../certs/index.js";
import { generateKeyPem } from "../../certs/keys.js";
import { startMesh, type Place } from "../support/cli-mesh.js";
import { runRemora } from "../support/cli-process.js";
import { freePort } from "../support/free-port.js";
import { until } from "../support/until.js";
import { certificatesPem, firstOf, WorkloadClient } from "../support/workload-client.js";

// Processes start and certificates rotate: more than the 30 s that a file has.
const longestMs = 240_000;
t.setTimeout(longestMs);
t.comment(`timeout=${longestMs}`);

const endpoints = { a: await freePort(), b: await freePort() };
const flags = (name: "a" | "b") => [
  ...["--trust-domain", `${name}.mesh`, "--federation-listen", `127.0.0.1:${endpoints[name]}`],
  ...["--federation-refresh-hint", "1s"],
];
const a = await startMesh(t, { controlPlane: flags("a") });
const b = await startMesh(t, { controlPlane: flags("b") });
const [web, api] = await Promise.all([
  a.join({ name: "web", service: "web", flags: ["--workload-api", "on"] }),
  b.join({ name: "api", service: "api", flags: ["--workload-api", "on"] }),
]);
const socketOf = ({ stateDir }: Place): string => path.join(stateDir, "workload.sock");
const [webIdentity, apiIdentity] = [web, api].map((place) => new WorkloadClient(socketOf(place)));
t.teardown(() => [webIdentity, apiIdentity].forEach((client) => client?.close()));
/** Kept for the time when web and its mesh are gone. */
let kept = await svidOfWeb();
const webId = "spiffe://a.mesh/ns/default/svc/web";

interface KeyPair {
  readonly key: string;
  readonly cert: string;
}

/** What web's application gets from its sidecar. */
async function svidOfWeb(): Promise<KeyPair & { readonly federated: Readonly<Record<string, Buffer>> }> {
  const { svids, federated_bundles } = await firstOf((webIdentity as WorkloadClient).x509Svids());
  const [svid] = svids;
  const key = toPem("PRIVATE KEY", svid?.x509_svid_key ?? Buffer.alloc(0));
  return { key, cert: certificatesPem(svid?.x509_svid ?? Buffer.alloc(0)), federated: federated_bundles };
}

/** All that api's inbound port says to a request with this certificate until the connection ends. */
function knock({ key, cert }: KeyPair, ca?: string): Promise<string> {
  return new Promise((resolve) => {
    const socket = tls.connect({
      ...{ port: api.inbound, host: "127.0.0.1", key, cert, ca },
      rejectUnauthorized: ca !== undefined,
      checkServerIdentity: () => undefined,
    });
    let received = "";
    socket.setEncoding("latin1").on("data", (text: string) => (received += text));
    socket.on("error", () => undefined);
    socket.once("close", () => resolve(received));
    socket.write("GET / HTTP/1.1\r\nhost: api\r\nconnection: close\r\n\r\n");
  });
}

const endpointOf = (name: "a" | "b"): readonly string[] => [
  ...["--trust-domain", `${name}.mesh`, "--endpoint", `https://127.0.0.1:${endpoints[name]}/`],
  ...["--endpoint-spiffe-id", `spiffe://${name}.mesh/ns/remora/svc/control-plane`],
];

/** One mesh comes to believe the other: its operator got the first bundle by hand. */
async function federate(mesh: typeof a, name: "a" | "b", other: typeof a): Promise<void> {
  const { code, out, err } = await other.remora(["federation", "bundle"]);
  t.equal(code, 0, err);
  const file = path.join(mesh.dir, `${name}.json`);
  await writeFile(file, out);
  const added = await mesh.remora(["federation", "add", ...endpointOf(name), "--bundle-file", file]);
  t.equal(added.code, 0, added.err);
}

t.test("before: the other mesh gets not one byte", async (t) => {
  t.equal(await knock(await svidOfWeb()), "");
});

t.test("what an operator may not add", async (t) => {
  const { out } = await b.remora(["federation", "bundle"]);
  const file = path.join(b.dir, "own.json");
  await writeFile(file, out);
  const add = async (...args: readonly string[]): Promise<string> => {
    const { code, err } = await b.remora(["federation", "add", ...args]);
    t.not(code, 0);
    return err;
  };
  t.match(await add(...endpointOf("b"), "--bundle-file", file), /our own trust domain/);
  t.match(
    await add(...endpointOf("a"), "--bundle-file", file),
    /not that of a.mesh/,
    "our bundle as another's",
  );
  t.match(await add(...endpointOf("a")), /bundle is missing/);
  t.match(await add("--trust-domain", "c.mesh", "--endpoint", "http://127.0.0.1/"), /https URL/);
  t.same(JSON.parse((await b.remora(["federation", "list", "--output", "json"])).out), { relationships: [] });
});

t.test(
  "federated: a caller is let in by its own name, and sees the other mesh's roots apart from its own",
  async (t) => {
    await federate(b, "a", a);
    await federate(a, "b", b);
    const identity = await until("roots of b.mesh at web", async () => {
      const found = await svidOfWeb();
      return found.federated["spiffe://b.mesh"] !== undefined && found;
    });
    const roots = certificatesPem(identity.federated["spiffe://b.mesh"] ?? Buffer.alloc(0));
    const answer = await until("an answer of api", async () => (await knock(identity, roots)) || undefined);
    t.match(answer, /^HTTP\/1.1 200/);
    t.match(answer, `"caller":"${webId}"`);
  },
);

t.test("bundles are fetched from the endpoint, under its SPIFFE id, in order", async (t) => {
  const listed = async (): Promise<readonly { readonly fetchedAtMs?: number; readonly error?: string }[]> =>
    (
      JSON.parse((await b.remora(["federation", "list", "--output", "json"])).out) as {
        readonly relationships: readonly { readonly fetchedAtMs?: number; readonly error?: string }[];
      }
    ).relationships;
  const [first] = await until("a first fetch", async () => {
    const views = await listed();
    return views[0]?.fetchedAtMs !== undefined && views;
  });
  t.equal(first?.error, undefined);
  const wrong = ["--endpoint-spiffe-id", "spiffe://a.mesh/ns/default/svc/web"];
  const file = path.join(b.dir, "a.json");
  const other = ["--trust-domain", "a.mesh", "--endpoint", `https://127.0.0.1:${endpoints.a}/`];
  await b.remora(["federation", "add", ...other, ...wrong, "--bundle-file", file]);
  const [second] = await until("a refusal", async () => {
    const views = await listed();
    return views[0]?.error !== undefined && views;
  });
  t.match(second?.error, /the endpoint is spiffe:\/\/a.mesh\/ns\/remora\/svc\/control-plane, not/);
  await b.remora(["federation", "add", ...endpointOf("a"), "--bundle-file", file]);
});

t.test("the other mesh's CA cannot speak for ours, nor ours for it", async (t) => {
  const read = (mesh: typeof a, name: string) => readFile(path.join(mesh.dataDir, "ca", name), "utf8");
  const own = loadAuthority(await read(a, "root.crt"), await read(a, "root.key"));
  const forge = async (trustDomain: string): Promise<KeyPair> => {
    const key = await generateKeyPem();
    const { certPem } = issueLeaf(
      { ...own, trustDomain },
      {
        identity: { namespace: "default", service: "web" },
        publicKeySpki: publicKeySpki(readPrivateKey(key)),
        ...{ nowMs: Date.now(), ttlMs: 60_000 },
      },
    );
    return { key, cert: certPem };
  };
  t.match(await until("a.mesh", async () => (await knock(await forge("a.mesh"))) || undefined), /200/);
  t.equal(await knock(await forge("b.mesh")), "", "a.mesh's CA signs for b.mesh");
  t.equal(await knock(await forge("c.mesh")), "", "and for a third");
});

t.test("policies name callers of the other mesh", async (t) => {
  const file = path.join(b.dir, "policy.yaml");
  const answer = async (...principals: readonly string[]): Promise<string> => {
    const rules = `rules: [{from: [{source: {principals: ${JSON.stringify(principals)}}}]}]`;
    const head = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: api}";
    await writeFile(file, `${head}\nspec: {selector: {matchLabels: {app: api}}, action: ALLOW, ${rules}}\n`);
    const { code, err } = await b.remora(["apply", "-f", file]);
    t.equal(code, 0, err);
    const wanted = principals.some((one) => webId.endsWith(one)) ? "200" : "403";
    return until(`an answer ${wanted}`, async () => {
      const said = (await knock(kept)).slice(0, 12);
      return said.endsWith(wanted) && said;
    });
  };
  t.equal(await answer("b.mesh/ns/default/svc/web"), "HTTP/1.1 403", "the same name in our own mesh");
  t.equal(await answer("a.mesh/ns/default/svc/other"), "HTTP/1.1 403");
  t.equal(await answer("a.mesh/ns/default/svc/web"), "HTTP/1.1 200");
});

t.test("a token of the other mesh is validated with its keys", async (t) => {
  const token = (await (webIdentity as WorkloadClient).jwtSvids(["api"])).get(webId) ?? "";
  const { spiffe_id } = await until("keys of a.mesh at api", () =>
    (apiIdentity as WorkloadClient).validate("api", token),
  );
  t.equal(spiffe_id, webId);
});

t.test("a.mesh's CA is replaced, and b.mesh refuses web not once", async (t) => {
  // Sidecars renew within a minute.
  const rotated = runRemora({ args: ["ca", "rotate", "--auto", ...a.client], timeoutMs: 100_000 });
  let isOver = false;
  void rotated.finally(() => (isOver = true));
  const answers: string[] = [];
  const before = kept.cert;
  while (!isOver || kept.cert === before) {
    kept = await svidOfWeb();
    answers.push((await knock(kept)).slice(0, 12));
  }
  t.equal((await rotated).code, 0, (await rotated).err);
  t.same(
    answers.filter((answer) => answer !== "HTTP/1.1 200"),
    [],
    `${answers.length} requests`,
  );
  t.match(await knock(await svidOfWeb()), /200/, "with the new CA alone");
});

t.test("the last good bundle stays while the endpoint is away", async (t) => {
  await a.close();
  t.match(await knock(kept), /200/);
});

t.test("removed: nobody of it is believed any more", async (t) => {
  t.equal((await b.remora(["federation", "remove", "a.mesh"])).code, 0);
  await until("a refusal", async () => (await knock(kept)) === "");
  t.equal((await b.remora(["federation", "remove", "a.mesh"])).code, 1);
});
