/** Settings of clusters on real sockets, through the snapshot file as they come over the wire. */
import http, { type Server } from "node:http";
import type { AddressInfo } from "node:net";
import tls from "node:tls";
import t, { type Test } from "tap";
import {
  createRootCa,
  generateKeyPem,
  issueLeaf,
  loadAuthority,
  publicKeySpki,
  readPrivateKey,
} from "../../certs/index.js";
import { clusterDefaults } from "../../src/config/cluster-defaults.js";
import type { ClusterConfig } from "../../src/config/snapshot.js";
import { assembleSvid } from "../../src/identity/assemble-svid.js";
import type { Svid } from "../../src/identity/svid.js";
import { call } from "../support/http-load.js";
import { identityOf, snapshotTo, startFromDisk, trustDomain } from "../support/sidecar-kit.js";

async function application(t: Test, failsEvery = Infinity) {
  const counts = { requests: 0, connections: 0 };
  const server: Server = http.createServer((_, response) => {
    response.statusCode = ++counts.requests % failsEvery === 0 ? 500 : 200;
    response.end();
  });
  server.on("connection", () => counts.connections++);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.teardown(() => server.close());
  return { port: (server.address() as AddressInfo).port, counts };
}

/** A sidecar that calls api: applications without one, or `meshed` instances. */
async function caller(t: Test, ports: readonly number[], change: Partial<ClusterConfig>, meshed = false) {
  const snapshot = snapshotTo(ports, {}, { meshed });
  const clusters = snapshot.clusters.map((cluster) => ({
    ...cluster,
    mtlsMode: "PERMISSIVE" as const,
    loadBalancer: { policy: "round_robin" as const, panicThresholdPercent: 0 },
    ...change,
  }));
  const web = await startFromDisk(t, "web", {
    upstreams: [{ service: "api", port: 0 }],
    saved: { ...snapshot, clusters },
  });
  return { web, port: web.ports.upstreams.get("api") ?? 0 };
}

/** Of a CA that nobody of the mesh knows. */
async function foreignSvid(service: string, domain = "other.mesh"): Promise<Svid> {
  const ca = await createRootCa({ trustDomain: domain, nowMs: Date.now() - 60_000 });
  const keyPem = await generateKeyPem();
  const { certPem } = issueLeaf(loadAuthority(ca.certPem, ca.keyPem), {
    identity: { namespace: "default", service },
    publicKeySpki: publicKeySpki(readPrivateKey(keyPem)),
    nowMs: Date.now(),
    ttlMs: 3_600_000,
  });
  return assembleSvid({ certChainPem: certPem, keyPem, bundlePem: ca.certPem });
}

t.test("the instance that fails more often than the others is ejected, and no other", async (t) => {
  const apps = await Promise.all([5, 50, 50, 50, 50, 50].map((every) => application(t, every)));
  const { web, port } = await caller(
    t,
    apps.map((app) => app.port),
    {
      breaker: {
        ...clusterDefaults.breaker,
        consecutiveFailures: 0,
        minSuccessRatio: 0,
        baseEjectionMs: 60_000,
        outliers: { minHosts: 5, minRequests: 20, stdevFactor: 1.9 },
      },
    },
  );
  const opened = (): string[] => web.logged.filter((line) => line.includes("breaker open"));
  for (let n = 0; n < 5000 && opened().length === 0; n++) await call({ port });
  const [bad] = apps;
  t.equal(opened().length, 1);
  t.match(opened()[0], /"outlier"/);
  t.match(opened()[0], `:${bad?.port}`);
  const before = bad?.counts.requests;
  for (let n = 0; n < 30; n++) await call({ port });
  t.equal(bad?.counts.requests, before, "it gets nothing");
});

t.test("connections are replaced after maxRequestsPerConnection requests", async (t) => {
  const app = await application(t);
  const { port } = await caller(t, [app.port], { maxRequestsPerConnection: 4 });
  for (let n = 0; n < 20; n++) t.equal((await call({ port })).status, 200);
  t.same(app.counts, { requests: 20, connections: 5 });
});

/** An instance that lets everybody in and answers everything; `bytes` is what applications were told. */
async function instance(t: Test, { keyPem, certChainPem }: Svid) {
  const seen = { bytes: 0 };
  const options = { key: keyPem, cert: certChainPem, requestCert: true, rejectUnauthorized: false };
  const server = tls.createServer({ ...options, ALPNProtocols: ["http/1.1"] }, (socket) => {
    socket.on("error", () => undefined);
    socket.on("data", (data) => {
      seen.bytes += data.length;
      socket.write("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    });
  });
  server.on("tlsClientError", () => undefined);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.teardown(() => server.close());
  return { port: (server.address() as AddressInfo).port, seen };
}

t.test("an instance is believed by the identities that are listed, and by no other", async (t) => {
  const id = (service: string): string => `spiffe://${trustDomain}/ns/default/svc/${service}`;
  const [api, spare, foreign, forged] = await Promise.all([
    identityOf("api"),
    identityOf("spare"),
    foreignSvid("spare"),
    foreignSvid("spare", trustDomain),
  ]);
  const table: (readonly [string, Svid, readonly string[], true | string])[] = [
    ["its own name", api, [id("api")], true],
    ["another one, listed", spare, [id("spare")], true],
    ["another one, listed beside", spare, [id("api"), id("spare")], true],
    ["another one, not listed", spare, [id("api")], "upstream_identity_mismatch"],
    ["its own name, not listed", api, [id("spare")], "upstream_identity_mismatch"],
    ["parts of its name", spare, [id("spar"), id("spare2"), id("")], "upstream_identity_mismatch"],
    ["listed, of a trust domain that nobody believes", foreign, [foreign.id], "upstream_tls_failed"],
    ["listed, of the own trust domain, by another CA", forged, [forged.id], "upstream_tls_failed"],
  ];
  for (const [what, svid, identities, expected] of table) {
    const { port, seen } = await instance(t, svid);
    const { port: upstream } = await caller(t, [port], { identities, mtlsMode: "STRICT" }, true);
    const answer = await call({ port: upstream, method: "POST", body: "secret" });
    t.equal(answer.error ?? answer.status === 200, expected, what);
    t.equal(seen.bytes > 0, expected === true, `${what}: ${seen.bytes} bytes came`);
  }
});
