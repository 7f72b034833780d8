/** A program without a sidecar: gRPC's own xDS client (grpc-js-xds) dials a service through our control plane. */
import { Client, Metadata, Server, ServerCredentials, credentials } from "@grpc/grpc-js";
import { setTimeout as sleep } from "node:timers/promises";
import t from "tap";
import type { Instance } from "../../control-plane/catalog/catalog.js";
import { compileSnapshot } from "../../control-plane/compiler/compile.js";
import { startAds } from "../support/ads-harness.js";
import { exampleEndpoint, exampleSnapshot } from "../support/example-snapshot.js";
import { catalogOf, documentsOf, instance } from "../support/mesh-model.js";

const identity = (bytes: Buffer): Buffer => bytes;
const path = "/test.Who/Are";
const slowPath = "/test.Who/Slow";

/** A gRPC server that answers every call with its name, and those of the slow method after a while. */
async function startBackend(name: string): Promise<{ readonly port: number; close(): void }> {
  const server = new Server();
  const answer = (_call: unknown, callback: (error: null, value: Buffer) => void): void =>
    callback(null, Buffer.from(name));
  const method = {
    path,
    requestStream: false as const,
    responseStream: false as const,
    requestSerialize: identity,
    requestDeserialize: identity,
    responseSerialize: identity,
    responseDeserialize: identity,
  };
  const answerSlowly: typeof answer = (call, callback) =>
    void setTimeout(() => answer(call, callback), 60 * Math.random());
  server.addService(
    { Are: method, Were: { ...method, path: "/test.Who/Were" }, Slow: { ...method, path: slowPath } },
    { Are: answer, Were: answer, Slow: answerSlowly },
  );
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    ),
  );
  return { port, close: () => server.forceShutdown() };
}

const documents = `
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {name: api}
spec:
  parentRefs: [{name: api}]
  rules:
  - matches: [{method: {service: test.Who, method: Are}}, {method: {method: Never}}]
    backendRefs: [{name: api-2}]
  - matches: [{method: {service: test.Who}}]
    backendRefs: [{name: api}]
  - matches: [{method: {type: RegularExpression, service: "nobody.*"}, headers: [{name: x-a, value: b}]}]
    backendRefs: [{name: api-2}, {name: api, weight: 2}]
---
apiVersion: remora.mesh/v1
kind: TrafficPolicy
metadata: {name: api}
spec:
  targetRefs: [{kind: Service, name: api}, {kind: Service, name: api-2}]
  protocol: grpc
  mtls: {mode: DISABLE}
  retry: {on: [unavailable, internal], attempts: 2}
---
apiVersion: remora.mesh/v1
kind: TrafficPolicy
metadata: {name: redis}
spec: {targetRefs: [{kind: Service, name: redis}], mtls: {mode: DISABLE}}
`;

const byUser = `
apiVersion: remora.mesh/v1
kind: TrafficPolicy
metadata: {name: api}
spec:
  targetRefs: [{kind: Service, name: api}]
  protocol: grpc
  mtls: {mode: DISABLE}
  loadBalancer: {policy: ring_hash, hashPolicy: [{header: x-user}]}
`;

/** Everything goes to one service. */
const allTo = (service: string): string => `
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {name: api}
spec:
  parentRefs: [{name: api}]
  rules: [{backendRefs: [{name: ${service}}]}]
---
apiVersion: remora.mesh/v1
kind: TrafficPolicy
metadata: {name: api}
spec:
  targetRefs: [{kind: Service, name: api}, {kind: Service, name: api-1}, {kind: Service, name: api-2}]
  protocol: grpc
  mtls: {mode: DISABLE}
`;

/** An instance on loopback without a sidecar. */
const backend = (id: string, port: number): Instance =>
  instance(id, { address: "127.0.0.1", port, meshPort: undefined, protocol: "grpc" });

t.test("gRPC's xDS client reaches a service and follows its endpoints", async (t) => {
  const [first, second] = [await startBackend("first"), await startBackend("second")];
  const snapshotTo = (port: number, version: string): ReturnType<typeof exampleSnapshot> => ({
    ...exampleSnapshot({ version }),
    endpoints: new Map([["api.default", [exampleEndpoint("api-1", port)]]]),
  });
  const ads = await startAds(snapshotTo(first.port, "v1"));
  process.env["GRPC_XDS_BOOTSTRAP_CONFIG"] = JSON.stringify({
    xds_servers: [
      {
        server_uri: `127.0.0.1:${ads.port}`,
        channel_creds: [{ type: "insecure" }],
        server_features: ["xds_v3"],
      },
    ],
    node: { id: "program-1", cluster: "program", locality: { region: "", zone: "a", sub_zone: "" } },
    certificate_providers: {
      default: {
        plugin_name: "file_watcher",
        config: { ca_certificate_file: "/dev/null", refresh_interval: "60s" },
      },
    },
  });
  const xds = await import("@grpc/grpc-js-xds");
  xds.register();
  const client = new Client("xds:///api.default", credentials.createInsecure());
  t.teardown(() => {
    client.close();
    ads.close();
    first.close();
    second.close();
  });
  const ask = (method = path, fields: Readonly<Record<string, string>> = {}): Promise<string> =>
    new Promise((resolve, reject) => {
      const metadata = new Metadata();
      for (const [name, value] of Object.entries(fields)) metadata.set(name, value);
      client.makeUnaryRequest(
        ...([method, identity, identity, Buffer.alloc(0), metadata] as const),
        { deadline: new Date(Date.now() + 10_000) },
        (error, value) => (error === null ? resolve(String(value)) : reject(error)),
      );
    });

  t.equal(await ask(), "first");
  const node = { id: "program-1", service: "program", namespace: "default" };
  t.match(ads.service.sessions(), [{ node }]);
  ads.snapshot.set(snapshotTo(second.port, "v2"));
  const answers = [];
  while (answers.at(-1) !== "second" && answers.length < 1000) answers.push(await ask());
  t.equal(answers.at(-1), "second");
  t.equal(ads.service.sessions()[0]?.state, "SYNCED", "it refused nothing");

  const compiled = (
    services: Parameters<typeof catalogOf>[0],
    yaml: string,
    upstreams: readonly string[] = [],
  ) =>
    compileSnapshot(
      { trustDomain: "mesh.local", catalog: catalogOf(services), documents: documentsOf(yaml) },
      { ...node, protocol: "grpc", upstreams, zone: "" },
    );
  // By documents now: a GRPCRoute over all forms of matches, a policy with gRPC retries, and a TCP service beside it.
  ads.snapshot.set(
    compiled(
      {
        "api.default": [backend("api-1", first.port)],
        "api-2.default": [backend("api-2", second.port)],
        "redis.default": [{ ...backend("redis-1", 1), protocol: "tcp" }],
      },
      documents,
    ),
  );
  const codeOf = (method: string): Promise<unknown> =>
    ask(method).then(
      () => 0,
      (error: unknown) => (error as { readonly code?: number }).code,
    );
  const codes = [];
  // A server without the method says 12; a client without a route says 14.
  while (codes.at(-1) !== 14 && codes.length < 1000) codes.push(await codeOf("/test.Unknown/Are"));
  t.equal(codes.at(-1), 14, "no route, so no call");
  t.equal(await ask(), "second", "the method");
  t.equal(await ask("/test.Who/Were"), "first", "the service's other methods");

  const both = {
    "api.default": [backend("api-1", first.port), backend("api-2", second.port)],
    "api-2.default": [backend("api-2", second.port)],
  };
  ads.snapshot.set(compiled(both, byUser));
  const ofUser = (user: number): Promise<string> => ask(path, { "x-user": `user-${user}` });
  const users = Array.from({ length: 40 }, (_, user) => user);
  const rounds: string[][] = [];
  // Until the new routes are there, every call goes to the second one.
  while (new Set(rounds.at(-1)).size < 2 && rounds.length < 100)
    rounds.push(await Promise.all(users.map(ofUser)));
  const again = await Promise.all(users.map(ofUser));
  t.equal(new Set(again).size, 2, "users are spread");
  for (let round = 0; round < 5; round++)
    t.same(await Promise.all(users.map(ofUser)), again, "each stays where it was");
  t.equal(ads.service.sessions()[0]?.state, "SYNCED", "it refused nothing");

  // A route that changes all the time: with each change a cluster comes and another goes, which calls under way still want.
  const apart = {
    "api.default": [],
    "api-1.default": [backend("api-1", first.port)],
    "api-2.default": [backend("api-2", second.port)],
  };
  const turns = ["api-1", "api-2"].map((service) => compiled(apart, allTo(service), ["api.default"]));
  const calls: Promise<string>[] = [];
  for (let flip = 0; flip < 60; flip++) {
    ads.snapshot.set(turns[flip % 2]);
    for (let wait = 0; wait < 8; wait++) {
      calls.push(ask(slowPath).catch(String), ask(slowPath).catch(String));
      await sleep(5);
    }
  }
  const answered = await Promise.all(calls);
  t.same([...new Set(answered)].sort(), ["first", "second"], "no call fails");
});

// The library holds on to its stream after the routes of a client have changed, and would keep this process waiting.
t.teardown(() => void setImmediate(() => process.exit()));
