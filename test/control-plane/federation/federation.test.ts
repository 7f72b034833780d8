/** Following another trust domain's bundle: from endpoints that are right, wrong, late, and gone. */
import { execFile } from "node:child_process";
import { readFile, stat, writeFile } from "node:fs/promises";
import path from "node:path";
import { promisify } from "node:util";
import t, { type Test } from "tap";
import { jwkSetText, jwtKeyOf } from "../../../certs/jwk.js";
import { formatSpiffeBundle, parseSpiffeBundle } from "../../../certs/spiffe-bundle.js";
import { openBundleEndpoint } from "../../../control-plane/federation/bundle-endpoint.js";
import { openFederation, type FederationEvent } from "../../../control-plane/federation/federation.js";
import { ownBundle } from "../../../control-plane/federation/own-bundle.js";
import { ConfigError } from "../../../src/errors/config-error.js";
import { assembleSvid } from "../../../src/identity/assemble-svid.js";
import type { MeshTrust } from "../../../src/identity/mesh-trust.js";
import type { Svid } from "../../../src/identity/svid.js";
import { LatestValue } from "../../../src/lifecycle/latest-value.js";
import { FakeClock } from "../../support/fake-clock.js";
import {
  makeCertificate,
  makeRoot,
  middayMs,
  newKey,
  uri,
  type CertificateShape,
  type Made,
} from "../../support/make-certificate.js";
import { until } from "../../support/until.js";

const run = promisify(execFile);
const serverId = "spiffe://other.mesh/ns/remora/svc/control-plane";
const root = makeRoot({ names: [uri("spiffe://other.mesh")] });
const next = makeRoot({ names: [uri("spiffe://other.mesh")], subject: "next" });
const jwtKey = jwtKeyOf(newKey());

function svidOf(issuer: Made, id = serverId, shape: CertificateShape = {}): Svid {
  const { pem, keyPem } = makeCertificate({
    ...shape,
    issuer,
    names: [uri(id), [0x87, Buffer.of(127, 0, 0, 1)]],
  });
  return assembleSvid({ certChainPem: pem, keyPem, bundlePem: issuer.pem });
}

function bundle(sequence: number, ...roots: readonly Made[]): string {
  const rootsPem = roots.map(({ pem }) => pem).join("");
  return formatSpiffeBundle({ rootsPem, jwtKeys: [jwtKey], sequence, refreshHint: 1 });
}

/** Another mesh's endpoint, whose certificate and words the test chooses. */
async function serve(t: Test, first: Svid, text: string) {
  const certificates = new LatestValue<Svid | undefined>(first);
  const says = { text };
  const endpoint = await openBundleEndpoint({
    listen: { host: "127.0.0.1", port: 0, text: "127.0.0.1:0" },
    certificates,
    bundle: { text: () => Promise.resolve(says.text) },
    onError: (error) => void t.fail(String(error)),
  });
  let isClosed = false;
  const close = async (): Promise<void> => {
    if (!isClosed) await endpoint.close();
    isClosed = true;
  };
  t.teardown(close);
  return { url: `https://${endpoint.address}/`, certificates, says, close };
}

async function follow(t: Test, file: string) {
  const clock = new FakeClock(middayMs);
  const roots = new LatestValue<ReadonlyMap<string, string>>(new Map());
  const jwtKeys = new LatestValue<ReadonlyMap<string, string>>(new Map());
  const events: FederationEvent[] = [];
  const federation = await openFederation({
    ...{ file, trustDomain: "remora.local", roots, jwtKeys, clock },
    ownRoots: () => undefined,
    onEvent: (event) => void events.push(event),
  });
  t.teardown(() => federation.close());
  /** Lets the time of a refresh come, and waits for what becomes of it. */
  const refresh = async (isDone: () => boolean): Promise<void> => {
    clock.advance(1200);
    await until("the refresh", isDone);
  };
  const isFetched = (): boolean => federation.views()[0]?.fetchedAtMs === clock.wallMs();
  const problem = (): string => federation.views()[0]?.error ?? "";
  return { federation, roots, jwtKeys, events, refresh, isFetched, problem };
}

t.test("a bundle is followed through a change of the other mesh's CA", async (t) => {
  const file = path.join(t.testdir(), "federation.json");
  const other = await serve(t, svidOf(root), bundle(1, root));
  const { federation, roots, jwtKeys, events, refresh, isFetched, problem } = await follow(t, file);
  const wish = { trustDomain: "other.mesh", endpoint: other.url, endpointSpiffeId: serverId };
  await federation.add({ ...wish, bundle: bundle(1, root) });
  t.same([...roots.get()], [["other.mesh", root.pem]], "believed at once");
  t.equal(jwtKeys.get().get("other.mesh"), jwkSetText([jwtKey]));
  t.equal((await stat(file)).mode & 0o777, 0o600);

  other.says.text = bundle(2, root, next);
  await refresh(isFetched);
  t.equal(roots.get().get("other.mesh"), root.pem + next.pem);
  other.certificates.set(svidOf(next));
  other.says.text = bundle(3, next);
  await refresh(isFetched);
  t.equal(roots.get().get("other.mesh"), next.pem, "proven by the CA that the bundle before announced");

  const good = roots.get();
  const isProblem = (text: RegExp) => (): boolean => text.test(problem());
  for (const [says, reason] of [
    [bundle(2, root), /2 is older than 3/],
    ["<html>", /not JSON/],
    [bundle(4, makeRoot()), /not that of other.mesh/],
    ["x".repeat(70_000), /more than 65536 bytes/],
  ] as const) {
    other.says.text = says;
    await refresh(isProblem(reason));
  }
  other.says.text = bundle(4, next, root);
  other.certificates.set(svidOf(root));
  await refresh(isProblem(/issued it/));
  other.certificates.set(svidOf(next, "spiffe://other.mesh/ns/default/svc/web"));
  await refresh(isProblem(/the endpoint is spiffe:\/\/other.mesh\/ns\/default\/svc\/web, not/));
  await other.close();
  await refresh(isProblem(/ECONNREFUSED/));
  t.equal(roots.get(), good, "the last good one stays through all of it");
  t.same(
    events.map(({ kind }) => kind),
    ["added", "updated", "updated", ...Array.from({ length: 7 }, () => "failed")],
    "each told once",
  );
  federation.close();

  const again = await follow(t, file);
  t.same([...again.roots.get()], [...good], "after a restart too, without the endpoint");
  t.equal(await again.federation.remove("other.mesh"), true);
  t.equal(await again.federation.remove("other.mesh"), false);
  t.equal(again.roots.get().size, 0);
  t.equal((await follow(t, file)).roots.get().size, 0);
});

t.test("what an operator wishes is checked, and so is the file", async (t) => {
  const file = path.join(t.testdir(), "federation.json");
  const { federation } = await follow(t, file);
  const wish = { trustDomain: "other.mesh", endpoint: "https://127.0.0.1/", endpointSpiffeId: serverId };
  const cases: readonly (readonly [object, RegExp])[] = [
    [{ trustDomain: "remora.local" }, /our own trust domain/],
    [{ trustDomain: "Other" }, /no trust domain/],
    [{ endpoint: "http://127.0.0.1/" }, /https URL/],
    [{ endpoint: "https://user:secret@127.0.0.1/" }, /https URL/],
    [{ endpointSpiffeId: "spiffe://other.mesh" }, /with a path/],
    [{ endpointSpiffeId: "x" }, /with a path/],
    [{}, /bundle is missing/],
    [{ bundle: bundle(1, makeRoot()) }, /not that of other.mesh/],
    [{ bundle: 1 }, /must be text/],
  ];
  for (const [change, message] of cases)
    await t.rejects(federation.add({ ...wish, ...change }), { name: ConfigError.name, message });
  t.same(federation.views(), []);
  await federation.add({ ...wish, bundle: bundle(1, root) });
  const text = await readFile(file, "utf8");
  for (const damaged of [text.slice(0, 50), text.replace('"other.mesh"', '"remora.local"'), "{}"]) {
    await writeFile(file, damaged);
    await t.rejects(follow(t, file), { name: ConfigError.name, message: /federation\.json is damaged/ });
    t.equal(await readFile(file, "utf8"), damaged, "nothing is overwritten");
  }
});

t.test("https_web: a CA that is locally trusted, for the name in the URL", async (t) => {
  const long = { notAfterMs: Date.UTC(2049, 0, 1) };
  const webCa = makeRoot({ ...long, names: [] });
  const other = await serve(t, svidOf(webCa, serverId, long), bundle(1, root));
  const folder = t.testdir();
  const ca = path.join(folder, "ca.pem");
  await writeFile(ca, webCa.pem);
  const module = new URL("../../../control-plane/federation/fetch-bundle.js", import.meta.url).href;
  const clock = new URL("../../../src/time/clock.js", import.meta.url).href;
  const script = `
    const { fetchBundle } = await import(${JSON.stringify(module)});
    const { systemClock } = await import(${JSON.stringify(clock)});
    const relationship = { trustDomain: "other.mesh", endpoint: process.argv[1], profile: { kind: "https_web" } };
    console.log(await fetchBundle(relationship, { rootsOf: () => undefined, clock: systemClock }).catch((e) => e.code));
  `;
  const fetch = async (env: object): Promise<string> => {
    const args = ["--input-type=module", "-e", script, other.url];
    const { stdout } = await run(process.execPath, args, { env: { ...process.env, ...env } });
    return stdout.trim();
  };
  t.match(await fetch({}), /UNABLE_TO_VERIFY_LEAF_SIGNATURE|UNABLE_TO_GET_ISSUER/);
  t.equal(await fetch({ NODE_EXTRA_CA_CERTS: ca }), bundle(1, root));
});

t.test("the number of our own bundle grows with each change, over restarts too", async (t) => {
  const file = path.join(t.testdir(), "bundle-sequence.json");
  const trust = new LatestValue<MeshTrust>({
    version: "1",
    bundles: new Map([["remora.local", root.pem]]),
    revoked: new Set(),
  });
  const open = () => ownBundle({ trustDomain: "remora.local", trust, file, refreshHint: 60 });
  const numberOf = async (own: ReturnType<typeof open>): Promise<unknown> =>
    (JSON.parse(await own.text()) as { readonly spiffe_sequence: unknown }).spiffe_sequence;
  const own = open();
  t.same(await Promise.all([numberOf(own), numberOf(own)]), [1, 1]);
  trust.set({ ...trust.get(), jwtKeys: new Map([["remora.local", jwkSetText([jwtKey])]]) });
  t.equal(await numberOf(own), 2);
  t.equal(await numberOf(open()), 2);
  trust.set({ ...trust.get(), bundles: new Map([["remora.local", root.pem + next.pem]]) });
  t.equal(await numberOf(open()), 3);
  t.equal(parseSpiffeBundle(await open().text(), "other.mesh").jwtKeys.length, 1);
  await writeFile(file, "{}");
  await t.rejects(open().text(), { message: /is damaged/ });
});
