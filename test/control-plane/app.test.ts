/** The whole control plane on port 0: admin API, join tokens, documents, restarts and everything an operator gets wrong. */
import { chmodSync, existsSync, mkdirSync, statSync, writeFileSync } from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import path from "node:path";
import t, { type Test } from "tap";
import type { ControlPlane, ControlPlaneSettings, SidecarView } from "../../control-plane/index.js";
import type { Snapshot } from "../../src/config/snapshot.js";
import { createAdsClient, type AdsState } from "../../src/discovery/ads-client.js";
import { openControlPlaneChannel, type ControlPlaneChannel } from "../../src/discovery/channel.js";
import { renew } from "../../src/discovery/enroll.js";
import type { SidecarNode } from "../../src/discovery/node.js";
import type { Svid } from "../../src/identity/svid.js";
import { LatestValue } from "../../src/lifecycle/latest-value.js";
import { registerEmbedded } from "../../src/registration/embedded.js";
import type { MetaEntry } from "../../src/registration/registration-service.js";
import { systemClock as clock } from "../../src/time/clock.js";
import {
  askAdmin,
  joinMesh,
  sidecars,
  startMeshHead,
  type AdminReply,
} from "../support/started-control-plane.js";
import { until } from "../support/until.js";

const policy = (connectTimeout: string): string => `
apiVersion: remora.mesh/v1
kind: TrafficPolicy
metadata: {name: api}
spec:
  targetRefs: [{kind: Service, name: api}]
  connectionPool: {connectTimeout: ${connectTimeout}}
`;

void t.test("the admin API lets in who may", async (t) => {
  const mesh = await startMeshHead(t, path.join(t.testdir(), "data"));
  t.equal(statSync(mesh.adminTokenFile).mode & 0o777, 0o600);
  const get = (headers: Record<string, string>, token?: string): Promise<AdminReply> =>
    askAdmin(mesh, "GET", "/v1/status", { headers, ...(token === undefined ? {} : { token }) });
  t.match(await get({}), {
    status: 200,
    json: { trustDomain: "mesh.local", registry: { kind: "embedded" } },
  });
  t.match(await get({}, ""), { status: 401, json: { error: "no admin token", fix: /admin\.token/ } });
  t.match(await get({}, "rma1.wrong"), { status: 401, json: { error: "wrong admin token" } });
  t.match(await get({ origin: "http://evil.example" }), { status: 403 });
  t.match(await get({ "sec-fetch-site": "cross-site" }), { status: 403 });
  t.match(await get({ host: "evil.example" }, ""), { status: 421 });
  t.match(await get({ host: "localhost:15014" }), { status: 200 });
  t.match(await askAdmin(mesh, "GET", "/ready", { token: "" }), { status: 200, text: "ready\n" });
  t.match(await askAdmin(mesh, "GET", "/nothing"), {
    status: 404,
    json: { error: "no such path: /nothing" },
  });
  t.match(await askAdmin(mesh, "PUT", "/v1/status"), { status: 405 });
  for (const odd of ["//", "//v1/status", "/v1//status", "/[", "//[", "http://evil.example/v1/status", "*"])
    t.match(await askAdmin(mesh, "GET", odd), { status: 404 }, odd);
  t.match(await askAdmin(mesh, "GET", "/v1/documents/HTTPRoute/%zz/x"), { status: 404 });
  const big = "x".repeat(1024 * 1024 + 1);
  t.match(await askAdmin(mesh, "POST", "/v1/documents", { body: big }), { status: 413 });
  const metrics = await askAdmin(mesh, "GET", "/metrics", { token: "" });
  t.match(metrics.text, /^pilot_xds 0$/m);
  t.match(metrics.text, /^remora_cp_registry_stale_seconds 0$/m);
  t.match(metrics.text, /^remora_cp_instances\{status="passing"\} 0$/m);
});

void t.test("documents are applied, shown and deleted", async (t) => {
  const mesh = await startMeshHead(t, path.join(t.testdir(), "data"));
  const apply = (body: string, query = ""): Promise<AdminReply> =>
    askAdmin(mesh, "POST", `/v1/documents${query}`, { body, headers: { "x-file-name": "api.yaml" } });
  t.match(await apply(policy("2s"), "?dryRun=true"), {
    status: 200,
    json: { dryRun: true, results: [{ kind: "TrafficPolicy", name: "api", action: "created" }] },
  });
  t.match(await askAdmin(mesh, "GET", "/v1/documents"), { json: { documents: [] } });
  t.match(await apply(policy("2s")), { json: { dryRun: false, results: [{ action: "created" }] } });
  t.match(await apply(policy("2s")), { json: { results: [{ action: "unchanged" }] } });
  t.match(await apply(policy("3s")), { json: { results: [{ action: "configured" }] } });
  t.match(await apply(policy("2s").replace("connectTimeout", "conectTimeout")), {
    status: 422,
    json: { error: /^api\.yaml:\d+:\d+: .*did you mean "connectTimeout"/, problems: [{ line: Number }] },
  });
  const shown = await askAdmin(mesh, "GET", "/v1/documents/trafficpolicy/default/api");
  t.match(shown.json, {
    documents: [
      {
        name: "api",
        yaml: /connectTimeout: 3s[^]*status:/,
        conditions: [{ type: "Accepted" }, { status: "False", reason: "TargetNotFound" }],
      },
    ],
  });
  t.match(await askAdmin(mesh, "GET", "/v1/documents/Nonsense"), {
    status: 400,
    json: { error: /unknown kind/ },
  });
  t.match(await askAdmin(mesh, "GET", "/v1/documents/HTTPRoute/default/api"), { status: 404 });
  t.match(await askAdmin(mesh, "DELETE", "/v1/documents/TrafficPolicy/default/api"), { status: 200 });
  t.match(await askAdmin(mesh, "DELETE", "/v1/documents/TrafficPolicy/default/api"), {
    status: 404,
    json: { error: "TrafficPolicy/default/api does not exist" },
  });
});

const declaration = {
  id: "web-1",
  service: "web",
  namespace: "default",
  address: "127.0.0.1",
  meshPort: 15006,
  appPort: 8080,
  protocol: "http",
  weight: 1,
  zone: "",
  meta: [] as readonly MetaEntry[],
};

void t.test("tokens are made as asked, and only sensible ones", async (t) => {
  const mesh = await startMeshHead(t, path.join(t.testdir(), "data"));
  const svid = await joinMesh(mesh, "web");
  t.equal(svid.id, "spiffe://mesh.local/ns/default/svc/web");
  t.equal((await askAdmin(mesh, "GET", "/v1/bundle")).text, svid.bundlePem);
  for (const [body, error] of [
    ["", /not JSON/],
    ["[]", /not a JSON object/],
    ["{}", /service is missing/],
    [`{"service":"../x"}`, /cannot be a service/],
    [`{"service":"web","ttl":"soon"}`, /not a duration/],
    [`{"service":"web","uses":0}`, /uses/],
  ] as const)
    t.match(await askAdmin(mesh, "POST", "/v1/tokens", { body }), { status: 400, json: { error } });
  t.match(
    (await askAdmin(mesh, "GET", "/metrics")).text,
    /remora_cp_certificates_issued_total\{by="token"\} 1/,
  );
});

interface Sidecar {
  readonly svid: Svid;
  readonly snapshots: LatestValue<Snapshot | undefined>;
  readonly states: LatestValue<AdsState | undefined>;
}

/** A joined sidecar's config stream; `refuse` says why a push is not taken. */
async function stream(
  t: Test,
  mesh: ControlPlane,
  node: Partial<SidecarNode>,
  options: { svid?: Svid; refuse?: (snapshot: Snapshot) => string | undefined } = {},
): Promise<Sidecar> {
  const svid = options.svid ?? (await joinMesh(mesh, node.service ?? "web"));
  const certificates = new LatestValue<Svid | undefined>(svid);
  const channel = openControlPlaneChannel({ controlPlane: mesh.listenAddress, certificates, clock });
  const snapshots = new LatestValue<Snapshot | undefined>(undefined);
  const states = new LatestValue<AdsState | undefined>(undefined);
  const client = createAdsClient({
    client: channel.client,
    clock,
    node: {
      id: "web-1",
      service: "web",
      namespace: "default",
      protocol: "http",
      upstreams: [],
      zone: "",
      ...node,
    },
    onSnapshot: (snapshot) => {
      const reason = options.refuse?.(snapshot);
      if (reason !== undefined) throw new Error(reason);
      snapshots.set(snapshot);
    },
    onState: (state) => states.set(state),
  });
  t.teardown(() => {
    client.close();
    channel.close();
  });
  return { svid, snapshots, states };
}

const soon = () => AbortSignal.timeout(10_000);

void t.test("a sidecar gets its configuration, and everybody can see how far it is", async (t) => {
  const mesh = await startMeshHead(t, path.join(t.testdir(), "data"));
  const sidecarOf = async (id: string, accept: (sidecar: SidecarView) => boolean): Promise<SidecarView> => {
    for (const signal = soon(); ; signal.throwIfAborted()) {
      const { json } = await askAdmin(mesh, "GET", "/v1/sidecars");
      const found = (json["sidecars"] as readonly SidecarView[]).find((sidecar) => sidecar.id === id);
      if (found !== undefined && accept(found)) return found;
    }
  };
  const web = await stream(t, mesh, { upstreams: ["api.default"] });
  await web.snapshots.until((snapshot) => snapshot !== undefined, soon());
  t.match(web.snapshots.get()?.virtualHosts, [{ name: "api.default" }]);

  // An instance of api appears, then a policy for it: both arrive by themselves.
  const certificates = new LatestValue<Svid | undefined>(await joinMesh(mesh, "api"));
  const channel = openControlPlaneChannel({ controlPlane: mesh.listenAddress, certificates, clock });
  t.teardown(() => channel.close());
  const instance = { ...declaration, id: "api-1", service: "api", meshPort: 15106 };
  const registration = registerEmbedded({ client: channel.client, instance, clock });
  const endpoints = () => web.snapshots.get()?.endpoints.get("api.default") ?? [];
  await web.snapshots.until(() => endpoints().length > 0, soon());
  t.match(endpoints(), [{ address: "127.0.0.1", port: 15106, meshed: true, instance: "api-1" }]);
  t.match(web.snapshots.get()?.clusters, [{ identities: ["spiffe://mesh.local/ns/default/svc/api"] }]);
  await askAdmin(mesh, "POST", "/v1/documents", { body: policy("4s") });
  await web.snapshots.until((snapshot) => snapshot?.clusters[0]?.connectTimeoutMs === 4000, soon());
  t.match(await askAdmin(mesh, "GET", "/v1/documents"), {
    json: { documents: [{ conditions: [{}, { status: "True" }] }] },
  });

  t.match(await sidecarOf("web-1", ({ state }) => state === "SYNCED"), {
    service: "web",
    address: /^127\.0\.0\.1:\d+$/,
    version: web.snapshots.get()?.version,
    ackedVersion: web.snapshots.get()?.version,
    nackReason: null,
    certificateNotAfterMs: web.svid.notAfterMs,
  });

  const refuse = (): string => "too green for me";
  await stream(t, mesh, { id: "web-2" }, { svid: web.svid, refuse });
  t.match(await sidecarOf("web-2", ({ state }) => state === "NACK"), { nackReason: /too green for me/ });
  const metrics = (await askAdmin(mesh, "GET", "/metrics")).text;
  t.match(metrics, /^pilot_xds 2$/m);
  t.match(metrics, /^pilot_xds_pushes\{type="eds"\} [1-9]/m);
  t.match(metrics, /^pilot_total_xds_rejects\{type="[a-z]+"\} 1$/m);

  await registration.close();
  await web.snapshots.until(() => endpoints().length === 0, soon());
  t.pass("gone again");
});

void t.test("a second stream that ends does not hide whose connection it is", async (t) => {
  const mesh = await startMeshHead(t, path.join(t.testdir(), "data"));
  const svid = await joinMesh(mesh, "web");
  const certificates = new LatestValue<Svid | undefined>(svid);
  const channel = openControlPlaneChannel({ controlPlane: mesh.listenAddress, certificates, clock });
  t.teardown(() => channel.close());
  const connect = (id: string) => {
    const node = {
      ...{ id, service: "web", namespace: "default" },
      protocol: "http",
      upstreams: [],
      zone: "",
    } as const;
    const common = { client: channel.client, clock, onSnapshot: () => undefined, onState: () => undefined };
    const client = createAdsClient({ ...common, node });
    t.teardown(() => client.close());
    return client;
  };
  const ids = async () => (await sidecars(mesh)).map(({ id }) => id).sort();
  connect("web-1");
  await until("the first", async () => (await ids()).length === 1);
  const second = connect("web-2");
  await until("both", async () => (await ids()).length === 2);
  const [one, other] = await sidecars(mesh);
  t.equal(one?.address, other?.address, "one connection");
  second.close();
  await until("the first alone", async () => (await ids()).length === 1);
  t.match(await sidecars(mesh), [{ id: "web-1", certificateSerial: svid.serial }]);
  const body = { node: "web-1", reason: "test" };
  t.match(await askAdmin(mesh, "POST", "/v1/certificates/revoke", { body }), {
    json: { revoked: [{ serial: svid.serial }] },
  });
});

void t.test("nobody gets the configuration of another service", async (t) => {
  const mesh = await startMeshHead(t, path.join(t.testdir(), "data"));
  const svid = await joinMesh(mesh, "web");
  const spy = await stream(t, mesh, { service: "payments" }, { svid });
  const state = await spy.states.until((state) => state?.lastError !== undefined, soon());
  t.match(state?.lastError, /certificate belongs to web\.default: it cannot be "payments\.default"/);
  t.equal(spy.snapshots.get(), undefined);
  t.match((await askAdmin(mesh, "GET", "/v1/sidecars")).json, { sidecars: [] });
});

void t.test("a registry that cannot be read empties nothing and takes no registration", async (t) => {
  const mesh = await startMeshHead(t, path.join(t.testdir(), "data"), {
    consul: { url: "http://127.0.0.1:1" },
  });
  t.match(await askAdmin(mesh, "GET", "/ready", { token: "" }), {
    status: 503,
    text: /registry could not be read yet/,
  });
  t.match((await askAdmin(mesh, "GET", "/v1/status")).json, { registry: { kind: "consul", isRead: false } });
  const certificates = new LatestValue<Svid | undefined>(await joinMesh(mesh, "web"));
  const channel = openControlPlaneChannel({ controlPlane: mesh.listenAddress, certificates, clock });
  t.teardown(() => channel.close());
  t.match(await refusal(t, channel, declaration), /the registry is Consul: register there/);
  const web = await stream(t, mesh, {}, { svid: certificates.get() as Svid });
  await web.states.until((state) => state?.connected === true, soon());
  t.match((await askAdmin(mesh, "GET", "/v1/sidecars")).json, {
    sidecars: [{ state: "NOT SENT", version: null }],
  });
  t.equal(web.snapshots.get(), undefined);
});

void t.test("no instance is one of the control plane's own ports", async (t) => {
  const mesh = await startMeshHead(t, path.join(t.testdir(), "data"));
  const certificates = new LatestValue<Svid | undefined>(await joinMesh(mesh, "web"));
  const channel = openControlPlaneChannel({ controlPlane: mesh.listenAddress, certificates, clock });
  t.teardown(() => channel.close());
  for (const address of [mesh.adminAddress, mesh.listenAddress]) {
    const port = Number(address.split(":")[1]);
    t.match(
      await refusal(t, channel, { ...declaration, appPort: port }),
      /is a port of the control plane itself/,
    );
    t.match(
      await refusal(t, channel, { ...declaration, meshPort: port }),
      /is a port of the control plane itself/,
    );
  }
});

function refusal(t: Test, channel: ControlPlaneChannel, instance: typeof declaration): Promise<string> {
  return new Promise((onProblem) => {
    const registration = registerEmbedded({ client: channel.client, instance, clock, onProblem });
    t.teardown(() => registration.close());
  });
}

void t.test("a restart keeps identities and documents, and does not empty the mesh", async (t) => {
  const dataDir = path.join(t.testdir(), "data");
  const first = await startMeshHead(t, dataDir);
  await askAdmin(first, "POST", "/v1/documents", { body: policy("2s") });
  const svid = await joinMesh(first, "web");
  const certificates = new LatestValue<Svid | undefined>(svid);
  const channel = openControlPlaneChannel({ controlPlane: first.listenAddress, certificates, clock });
  t.teardown(() => channel.close());
  const registration = registerEmbedded({ client: channel.client, instance: declaration, clock });
  t.teardown(() => registration.close());
  await registration.isRegistered.until((yes) => yes, AbortSignal.timeout(5000));
  t.match((await askAdmin(first, "GET", "/v1/services")).json, {
    services: [{ name: "web", instances: [{ id: "web-1", isMeshed: true, status: "passing" }] }],
  });
  await first.close();
  await registration.isRegistered.until((yes) => !yes, AbortSignal.timeout(5000));

  const second = await startMeshHead(t, dataDir, { listen: first.listenAddress });
  const before = await askAdmin(second, "GET", "/ready");
  if (before.status !== 200) t.match(before.text, /waiting for the sidecars/);
  await registration.isRegistered.until((yes) => yes, AbortSignal.timeout(10_000));
  t.match((await askAdmin(second, "GET", "/v1/services")).json, {
    services: [{ instances: [{ id: "web-1" }] }],
  });
  t.match(await askAdmin(second, "GET", "/ready"), { status: 200 });
  t.match((await askAdmin(second, "GET", "/v1/documents")).json, { documents: [{ name: "api" }] });
  t.equal((await renew(svid, { controlPlane: second.listenAddress, clock })).id, svid.id);
  await registration.close();
});

void t.test("what an operator gets wrong is said in one line", async (t) => {
  const dir = t.testdir();
  const dataDir = path.join(dir, "data");
  const running = await startMeshHead(t, dataDir);
  const fails = async (settings: Partial<ControlPlaneSettings>, text: RegExp): Promise<void> => {
    const error: unknown = await startMeshHead(t, path.join(dir, "other"), settings).then(
      () => "started",
      (reason: unknown) => reason,
    );
    t.match(error, { name: "ConfigError" });
    t.match(String(error), text);
    t.notMatch(String(error), /\n/);
  };
  await fails(
    { dataDir },
    new RegExp(`--data-dir: .* in use by another control plane \\(process ${process.pid}\\)`),
  );
  await fails({ listen: running.listenAddress }, /--listen: 127\.0\.0\.1:\d+ is in use by another process/);
  await fails({ admin: running.adminAddress }, /--admin: 127\.0\.0\.1:\d+ is in use by another process/);
  await fails({ listen: "15012" }, /--listen: "15012" is not HOST:PORT/);
  await fails({ trustDomain: "other.local" }, /holds the CA of trust domain mesh\.local, not other\.local/);
  await fails({ leafTtlMs: 1 }, /life of a leaf/);
  await fails({ consul: { url: "nonsense" } }, /nonsense/);
  const file = path.join(dir, "file");
  writeFileSync(file, "");
  await fails({ dataDir: file }, /--data-dir: cannot use .* \(E[A-Z]+\)/);
  chmodSync(running.adminTokenFile, 0o644);
  await running.close();
  await fails({ dataDir }, /can be read by others/);
});

void t.test("the lock of a process that is gone is taken over", async (t) => {
  const dataDir = path.join(t.testdir(), "data");
  mkdirSync(dataDir, { mode: 0o700 });
  // A process number above the kernel's limit, then our own with another start time: reused after a reboot.
  for (const lock of ["4194305 1\n", `${process.pid} 1\n`, "rubbish"]) {
    writeFileSync(path.join(dataDir, "lock"), lock);
    const mesh = await startMeshHead(t, dataDir);
    await mesh.close();
    t.notOk(existsSync(path.join(dataDir, "lock")));
  }
});

void t.test("a port that is taken meanwhile leaves nothing behind", async (t) => {
  const taken = createServer();
  await new Promise<void>((resolve) => taken.listen(0, "127.0.0.1", resolve));
  t.teardown(() => taken.close());
  const dataDir = path.join(t.testdir(), "data");
  const admin = `127.0.0.1:${(taken.address() as AddressInfo).port}`;
  await t.rejects(startMeshHead(t, dataDir, { admin }), /--admin/);
  const mesh = await startMeshHead(t, dataDir);
  t.match(await askAdmin(mesh, "GET", "/ready"), { status: 200 });
});
