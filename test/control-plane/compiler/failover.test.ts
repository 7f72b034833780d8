/** Zones in documents and in the registry: what becomes of them in a snapshot, and on the wire. */
import t from "tap";
import { mergeInstances, readHealthEntries } from "../../../control-plane/catalog/consul-health.js";
import { compileSnapshot } from "../../../control-plane/compiler/compile.js";
import type { MeshNode } from "../../../control-plane/compiler/node.js";
import { parseDocuments } from "../../../control-plane/policy-store/parse-documents.js";
import { assertConsistent } from "../../../src/config/assert-consistent.js";
import type { Snapshot } from "../../../src/config/snapshot.js";
import { decodeSnapshot, encodeSnapshot } from "../../../src/discovery/xds-resources.js";
import { catalogOf, documentsOf, instance } from "../../support/mesh-model.js";

const web: MeshNode = {
  id: "web-1",
  service: "web",
  namespace: "default",
  protocol: "http",
  upstreams: ["api.default"],
  zone: "a",
};

const policy = (spec: string, service = "api"): string => `apiVersion: remora.mesh/v1
kind: TrafficPolicy
metadata: {name: ${service}}
spec:
  targetRefs: [{kind: Service, name: ${service}}]
${spec.replace(/^/gm, "  ")}
---
`;

const services = {
  "web.default": [instance("web-1")],
  "api.default": [
    instance("api-1", { zone: "a" }),
    instance("api-2", { zone: "b" }),
    instance("api-3", { zone: "a", status: "critical" }),
    instance("api-4", { zone: "b", status: "maintenance" }),
  ],
};

/** As a sidecar gets it: compiled, checked, over the wire. */
function compile(yaml: string, registry: Parameters<typeof catalogOf>[0] = services): Snapshot {
  const snapshot = compileSnapshot(
    { trustDomain: "mesh.local", catalog: catalogOf(registry), documents: documentsOf(yaml) },
    web,
  );
  assertConsistent(snapshot);
  const received = decodeSnapshot(encodeSnapshot(snapshot));
  t.same(received.clusters, snapshot.clusters, "the wire changes nothing");
  return received;
}

/** What an apply is refused with. */
function refusal(yaml: string): string {
  try {
    parseDocuments(yaml, "p.yaml");
  } catch (error) {
    return String(error);
  }
  return "";
}

t.test("zones: a preference is off unless asked for, and then failing instances are told too", async (t) => {
  const instances = (snapshot: Snapshot) =>
    (snapshot.endpoints.get("api.default") ?? []).map(
      (endpoint) => `${endpoint.instance} ${endpoint.zone}${endpoint.isDown === true ? " down" : ""}`,
    );
  const plain = compile("");
  t.notOk(plain.clusters[0]?.locality);
  t.same(instances(plain), ["api-1 a", "api-2 b"]);
  t.notOk(compile(policy("loadBalancer: {locality: {preferLocal: false}}")).clusters[0]?.locality);
  const preferring = compile(policy("loadBalancer: {locality: {preferLocal: true}}"));
  t.same(preferring.clusters[0]?.locality, { spilloverPercent: 70 });
  t.same(instances(preferring), ["api-1 a", "api-2 b", "api-3 a down", "api-4 b down"]);
  const half = compile(policy("loadBalancer: {locality: {preferLocal: true, spillover: 50}}"));
  t.same(half.clusters[0]?.locality, { spilloverPercent: 50 });
});

t.test("zones: of two instances at one address the one that serves counts", async (t) => {
  const { endpoints } = compile(policy("loadBalancer: {locality: {preferLocal: true}}"), {
    ...services,
    "api.default": [instance("api-1", { id: "old", status: "critical" }), instance("api-1", { id: "p-new" })],
  });
  t.match(endpoints.get("api.default"), [{ instance: "p-new", isDown: undefined }]);
  t.equal(endpoints.get("api.default")?.length, 1);
});

t.test("zones: contradictions are refused with their place", async (t) => {
  const text = policy("loadBalancer:\n  locality:\n    spillover: 60");
  t.match(
    refusal(text),
    /p\.yaml:8:18: spec\.loadBalancer\.locality\.spillover: has no effect without preferLocal/,
  );
  t.match(refusal(policy("loadBalancer: {locality: {preferLocal: true, spillover: 101}}")), /spillover/);
});

t.test("zones: Consul has them at the service or at its node, as metadata or as locality", async (t) => {
  const entry = (id: string, service: object, node: object) => ({
    Node: { Node: "n1", Address: "10.0.0.1", ...node },
    Service: { ID: id, Service: "api", Port: 80, ...service },
    Checks: [],
  });
  const entries = readHealthEntries([
    entry("1", { Meta: { zone: "own" } }, { Meta: { zone: "node" } }),
    entry("2", {}, { Meta: { zone: "node" } }),
    entry("3", { Locality: { Region: "eu", Zone: "eu-1" } }, { Meta: { zone: "node" } }),
    entry("4", {}, { Locality: { Region: "eu", Zone: "eu-2" } }),
    entry("5", {}, {}),
  ]);
  const { instances } = mergeInstances("api", entries ?? [], [], () => undefined);
  t.same(
    instances.map(({ zone }) => zone),
    ["own", "node", "eu-1", "eu-2", ""],
  );
});
