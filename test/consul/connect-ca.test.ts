/** What an agent answers about its CA and its sidecars, read; whoever answers may be anything. */
import { generateKeyPairSync } from "node:crypto";
import fc from "fast-check";
import t from "tap";
import { readProtocols } from "../../control-plane/catalog/consul-protocols.js";
import { readLeaf, readRoots } from "../../src/consul/connect-ca.js";
import { decodeSidecar } from "../../src/consul/sidecar-registration.js";

const trustDomain = "11111111-2222-3333-4444-555555555555.consul";

t.test("all roots are trusted, the active one first", async (t) => {
  const roots = readRoots({
    TrustDomain: trustDomain.toUpperCase(),
    Roots: [
      { RootCert: "old", Active: false },
      { RootCert: "new\n", Active: true },
    ],
  });
  t.same(roots, { trustDomain, bundlePem: "new\nold\n" });
  for (const body of [
    null,
    [],
    {},
    { TrustDomain: "a b", Roots: [{ RootCert: "x" }] },
    { TrustDomain: trustDomain, Roots: [] },
    { TrustDomain: trustDomain, Roots: [{}] },
    { TrustDomain: trustDomain, Roots: Array.from({ length: 65 }, () => ({ RootCert: "x" })) },
  ])
    t.equal(readRoots(body), undefined, JSON.stringify(body)?.slice(0, 60));
});

t.test("a leaf's key is kept as PKCS #8, and what is no key is not shown", async (t) => {
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const PrivateKeyPEM = privateKey.export({ type: "sec1", format: "pem" });
  const leaf = readLeaf({ CertPEM: "leaf", PrivateKeyPEM });
  t.equal(leaf?.certChainPem, "leaf\n");
  t.match(leaf?.keyPem, /^-----BEGIN PRIVATE KEY-----\n/);
  t.equal(readLeaf({ CertPEM: "leaf", PrivateKeyPEM: "secret" }), undefined);
  t.equal(readLeaf({ CertPEM: 1, PrivateKeyPEM }), undefined);
});

t.test("a registered sidecar says ports, upstreams and protocol", async (t) => {
  const read = (change: object, proxy: object = {}, meta?: unknown) =>
    decodeSidecar(
      {
        Port: 21000,
        Address: "",
        ...change,
        Proxy: { DestinationServiceName: "web", LocalServicePort: 8080, ...proxy },
      },
      meta,
      "web-1",
    );
  t.same(read({}), {
    ...{ service: "web", id: "web-1", address: "", bindAddress: "0.0.0.0", bindPort: 21000 },
    ...{ appAddress: "127.0.0.1", appPort: 8080, protocol: undefined, upstreams: [], ignored: [] },
  });
  t.match(read({ Address: "10.0.0.5" }), { address: "10.0.0.5", bindAddress: "10.0.0.5" });
  t.match(read({}, { Config: { bind_address: "127.0.0.1", bind_port: 9, protocol: "http2" } }), {
    ...{ bindAddress: "127.0.0.1", bindPort: 9, protocol: "http2" },
  });
  t.equal(
    read({}, { Config: { protocol: "grpc" } }, "http").protocol,
    "http",
    "the service's own word first",
  );
  const { upstreams, ignored } = read(
    {},
    {
      Upstreams: [
        { DestinationType: "service", DestinationName: "db", LocalBindPort: 9001 },
        { DestinationName: "api", LocalBindPort: 9002, LocalBindAddress: "127.0.0.1" },
        { DestinationType: "prepared_query", DestinationName: "q", LocalBindPort: 1 },
        { DestinationName: "far", LocalBindPort: 1, Datacenter: "dc2" },
        { DestinationName: "elsewhere", LocalBindPort: 1, LocalBindAddress: "127.0.0.9" },
        { DestinationName: "nowhere" },
      ],
    },
  );
  t.same(upstreams, [
    { service: "db", port: 9001 },
    { service: "api", port: 9002 },
  ]);
  t.same(
    ignored.map((line) => line.split(":")[0]),
    ["q", "far", "elsewhere", "nowhere"],
  );
  t.throws(() => read({}, { LocalServicePort: undefined }), { message: /^--for: .*no local_service_port/ });
  t.throws(() => read({ Port: 0 }), { message: /^--for: .*no port/ });
});

t.test("no answer makes a reader fail but with its own words", async (t) => {
  fc.assert(
    fc.property(fc.jsonValue(), (body) => {
      readRoots(body);
      readLeaf(body);
      try {
        decodeSidecar((body ?? {}) as Record<string, unknown>, undefined, "web");
      } catch (error) {
        return error instanceof Error && error.name === "ConfigError";
      }
      return true;
    }),
  );
  t.pass("held");
});

t.test(
  "what services speak stands in service-defaults, then in proxy-defaults, then it is tcp",
  async (t) => {
    const services = [
      { Kind: "service-defaults", Name: "web", Protocol: "HTTP" },
      { Name: "db", Protocol: "mysql" },
      { Name: "quiet", Protocol: "" },
      { Name: 1, Protocol: "http" },
      null,
    ];
    const { services: found, otherwise } = readProtocols(services, []);
    t.same(
      [...found],
      [
        ["web", "http"],
        ["db", "tcp"],
      ],
    );
    t.equal(otherwise, "tcp");
    t.equal(readProtocols([], [{ Name: "global", Config: { protocol: "grpc" } }]).otherwise, "grpc");
    t.equal(readProtocols([], [{ Name: "global", Config: null }, 1]).otherwise, "tcp");
  },
);
