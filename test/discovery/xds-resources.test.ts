/** The wire form of a snapshot: exact round trip, refusals that name the place, and agreement with Envoy's own protos. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import path from "node:path";
import { loadSync } from "@grpc/proto-loader";
import type { MessageTypeDefinition, PackageDefinition } from "@grpc/proto-loader";
import fc from "fast-check";
import t from "tap";
import type { Snapshot } from "../../src/config/snapshot.js";
import { decodeCluster, encodeCluster } from "../../src/discovery/cluster-resource.js";
import { decodeEndpoints } from "../../src/discovery/endpoint-resource.js";
import { decodeListener } from "../../src/discovery/listener-resource.js";
import { typeUrls } from "../../src/discovery/resource.js";
import type { XdsResource, XdsResources } from "../../src/discovery/resource.js";
import { decodeRoutes } from "../../src/discovery/route-resource.js";
import { decodeSnapshot, decodeSnapshotResource, encodeSnapshot } from "../../src/discovery/xds-resources.js";
import { wire } from "../../src/discovery/wire.js";
import { arbitrarySnapshot } from "../support/arbitrary-snapshot.js";
import { exampleSnapshot } from "../support/example-snapshot.js";

const root = path.resolve(import.meta.dirname, "../../..");
const protoFolder = path.join(root, "src/discovery/proto");

t.test("every snapshot survives the wire exactly", async (t) => {
  fc.assert(
    fc.property(arbitrarySnapshot, (snapshot) => {
      assert.deepStrictEqual(decodeSnapshot(encodeSnapshot(snapshot)), snapshot);
    }),
    { numRuns: 200 },
  );
  t.pass("200 snapshots");
});

t.test("a cluster without an endpoint entry has no endpoints", async (t) => {
  const snapshot = exampleSnapshot({ version: "1" });
  const back = decodeSnapshot(encodeSnapshot({ ...snapshot, endpoints: new Map() }));
  t.same(back.endpoints, new Map([["api.default", []]]));
});

t.test("equal content has equal versions, and only what changed changes its version", async (t) => {
  const versions = (snapshot: Snapshot): Map<string, string> =>
    new Map([...encodeSnapshot(snapshot)].map(([typeUrl, set]) => [typeUrl, set.version]));
  const first = versions(exampleSnapshot({ version: "1" }));
  t.same(versions(exampleSnapshot({ version: "1" })), first);
  const moved = versions(exampleSnapshot({ version: "2", port: 9002 }));
  const changed = [...first.keys()].filter((typeUrl) => first.get(typeUrl) !== moved.get(typeUrl));
  t.same(changed.sort(), [typeUrls.endpoint, typeUrls.snapshot].sort());
});

t.test("garbage is refused with an error, never anything else", async (t) => {
  const decoders = [decodeListener, decodeRoutes, decodeCluster, decodeEndpoints, decodeSnapshotResource];
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat(decoders.length - 1), (bytes, i) => {
      try {
        decoders[i]?.(Buffer.from(bytes));
      } catch (error) {
        if (!(error instanceof Error) || error.name !== "ConfigError") throw error;
      }
    }),
    { numRuns: 2000 },
  );
  t.pass("only ConfigError");
});

t.test("a flipped bit is refused or read as something consistent", async (t) => {
  const bytes = encodeCluster(cluster());
  fc.assert(
    fc.property(fc.nat(bytes.length - 1), fc.nat(7), (at, bit) => {
      const flipped = Buffer.from(bytes);
      flipped[at] = (flipped[at] ?? 0) ^ (1 << bit);
      try {
        decodeCluster(flipped);
      } catch (error) {
        if (!(error instanceof Error) || error.name !== "ConfigError") throw error;
      }
    }),
    { numRuns: 1000 },
  );
  t.pass("only ConfigError");
});

t.test("a refusal names the resource and the path in it", async (t) => {
  const good = wire.cluster.decode(encodeCluster(cluster())) as object;
  const encode = (change: object): Buffer => wire.cluster.encode({ ...good, ...change });
  const cases: readonly [what: string, decode: () => unknown, message: string | RegExp][] = [
    ["no name", () => decodeCluster(encode({ name: "" })), "cluster: name: missing"],
    [
      "another kind of cluster",
      () => decodeCluster(encode({ type: "LOGICAL_DNS" })),
      "cluster api.default: type: LOGICAL_DNS is not one of EDS",
    ],
    [
      "no limits",
      () => decodeCluster(encode({ circuitBreakers: {} })),
      "cluster api.default: circuit_breakers.thresholds: expected exactly one",
    ],
    [
      "a percentage above 100",
      () => decodeCluster(encode({ commonLbConfig: { healthyPanicThreshold: { value: 101 } } })),
      "cluster api.default: common_lb_config.healthy_panic_threshold.value: 101 is not between 0 and 100",
    ],
    [
      "a negative duration",
      () => decodeCluster(encode({ connectTimeout: { seconds: -1 } })),
      "cluster api.default: connect_timeout.seconds: -1 is not between 0 and 315576000000",
    ],
    [
      "no TLS where it is asked for",
      () => decodeCluster(encode({ transportSocket: undefined })),
      "cluster api.default: transport_socket: missing",
    ],
    [
      "a transport of another type",
      () => decodeCluster(encode({ transportSocket: { typedConfig: { type_url: "x/y" } } })),
      /^cluster api.default: transport_socket.typed_config: is x\/y, expected type.googleapis.com\/envoy/,
    ],
    [
      "a host name instead of an address",
      () =>
        decodeEndpoints(
          wire.clusterLoadAssignment.encode({
            clusterName: "api.default",
            endpoints: [
              {
                locality: {},
                lbEndpoints: [
                  { endpoint: { address: { socketAddress: { address: "localhost", portValue: 1 } } } },
                ],
              },
            ],
          }),
        ),
      'endpoints of api.default: endpoints[0].lb_endpoints[0].endpoint.address.socket_address.address: "localhost" is not an IP address',
    ],
    [
      "bytes that are no message",
      () => decodeRoutes(Buffer.from([0xff])),
      /^routes of: not a envoy\.config\.route/,
    ],
  ];
  for (const [what, decode, message] of cases) t.throws(decode, { name: "ConfigError", message }, what);
});

t.test("resources of different versions are not put together", async (t) => {
  const old = encodeSnapshot(exampleSnapshot({ version: "1" }));
  const now = encodeSnapshot(exampleSnapshot({ version: "2", port: 9002 }));
  const mixed: XdsResources = new Map([...now, [typeUrls.endpoint, mustGet(old, typeUrls.endpoint)]]);
  t.throws(() => decodeSnapshot(mixed), { message: /belong to another version/ });
});

t.test("two resources of one name are refused when encoding", async (t) => {
  const snapshot = exampleSnapshot({ version: "1" });
  const twice = { ...snapshot, clusters: [...snapshot.clusters, ...snapshot.clusters] };
  t.throws(() => encodeSnapshot(twice), { message: /are named api\.default/ });
});

t.test("the descriptor is the one that the .proto files give", async (t) => {
  const printed = execFileSync(process.execPath, [path.join(protoFolder, "generate.mjs"), "--print"], {
    encoding: "utf8",
  });
  t.equal(readFileSync(path.join(protoFolder, "descriptor.ts"), "utf8"), printed);
});

t.test("Envoy's own protos read the same out of our bytes", async (t) => {
  const envoy = envoyProtos();
  const byType: readonly [typeUrl: string, name: string][] = [
    [typeUrls.listener, "envoy.config.listener.v3.Listener"],
    [typeUrls.route, "envoy.config.route.v3.RouteConfiguration"],
    [typeUrls.cluster, "envoy.config.cluster.v3.Cluster"],
    [typeUrls.endpoint, "envoy.config.endpoint.v3.ClusterLoadAssignment"],
  ];
  fc.assert(
    fc.property(arbitrarySnapshot, (snapshot) => {
      const resources = encodeSnapshot(snapshot);
      for (const [typeUrl, name] of byType) {
        const ours = Object.values(wire).find((type) => type.typeUrl === typeUrl);
        const theirs = envoy[name] as MessageTypeDefinition<object, object>;
        for (const { bytes } of mustGet(resources, typeUrl).resources.values()) {
          // What they read and write again, we read as before: no field of ours has another number or type there.
          const read = theirs.deserialize(bytes);
          assert.deepStrictEqual(ours?.decode(theirs.serialize(read)), ours?.decode(bytes));
        }
      }
    }),
    { numRuns: 30 },
  );
  const cluster = envoyRead("envoy.config.cluster.v3.Cluster", typeUrls.cluster);
  t.match(cluster, {
    type: "EDS",
    connectTimeout: { seconds: "1" },
    outlierDetection: { consecutive_5xx: { value: 7 }, failurePercentageThreshold: { value: 20 } },
    circuitBreakers: { thresholds: [{ maxRequests: { value: 1024 } }] },
  });
  t.match(envoyRead("envoy.config.endpoint.v3.ClusterLoadAssignment", typeUrls.endpoint), {
    endpoints: [{ lbEndpoints: [{ endpoint: { address: { socketAddress: { address: "127.0.0.1" } } } }] }],
  });

  function envoyRead(name: string, typeUrl: string): object {
    const resources = mustGet(encodeSnapshot(exampleSnapshot({ version: "1" })), typeUrl).resources;
    const [first] = resources.values() as Iterable<XdsResource>;
    return (envoy[name] as MessageTypeDefinition<object, object>).deserialize(
      first?.bytes ?? Buffer.alloc(0),
    );
  }
});

function cluster(): Snapshot["clusters"][number] {
  const [first] = exampleSnapshot({ version: "1" }).clusters;
  if (first === undefined) throw new Error("no cluster");
  return first;
}

function mustGet<K, V>(map: ReadonlyMap<K, V>, key: K): V {
  const value = map.get(key);
  if (value === undefined) throw new Error(`no ${String(key)}`);
  return value;
}

/** The full protos that @grpc/grpc-js-xds ships. */
function envoyProtos(): PackageDefinition {
  const package_ = createRequire(import.meta.url).resolve("@grpc/grpc-js-xds/package.json");
  const deps = path.join(path.dirname(package_), "deps");
  return loadSync(
    [
      "envoy/config/listener/v3/listener.proto",
      "envoy/config/route/v3/route.proto",
      "envoy/config/cluster/v3/cluster.proto",
      "envoy/config/endpoint/v3/endpoint.proto",
    ],
    {
      includeDirs: ["envoy-api", "googleapis", "protoc-gen-validate", "xds"].map((each) =>
        path.join(deps, each),
      ),
      longs: String,
      enums: String,
    },
  );
}
