import t from "tap";
import { createSnapshotCache } from "../../../control-plane/xds/snapshot-cache.js";
import { SharedSets } from "../../../control-plane/xds/shared-sets.js";
import { typeUrls } from "../../../src/discovery/resource.js";
import { encodeSnapshot } from "../../../src/discovery/xds-resources.js";
import { exampleSnapshot } from "../../support/example-snapshot.js";

t.test("equal lists are encoded once, and what stays the same stays the same object", async (t) => {
  const shared = new SharedSets();
  const old = exampleSnapshot({ version: "1" });
  const first = shared.of(old);
  t.same(
    first,
    [...encodeSnapshot(old).values()].filter(({ typeUrl }) => typeUrl !== typeUrls.snapshot),
  );
  t.equal(shared.of({ ...old }), first, "another node with the same lists");

  shared.next();
  const second = shared.of(exampleSnapshot({ version: "2", port: 9002 }));
  for (const [i, set] of second.entries())
    if (set.typeUrl === typeUrls.endpoint) t.not(set.version, first[i]?.version);
    else t.equal(set, first[i], `${set.typeUrl} did not change`);

  shared.next();
  shared.next();
  const later = shared.of(exampleSnapshot({ version: "3" }));
  t.same(later, first);
  t.not(later[0], first[0], "what nobody asked for was forgotten");
});

t.test("lists that only share some of their parts are not taken for one another", async (t) => {
  const shared = new SharedSets();
  const one = exampleSnapshot({ version: "1" });
  const moved = { ...one, endpoints: exampleSnapshot({ version: "2", port: 9002 }).endpoints };
  const routed = { ...one, virtualHosts: exampleSnapshot({ version: "3", prefix: "/v2" }).virtualHosts };
  const versions = (snapshot: typeof one): readonly string[] =>
    shared.of(snapshot).map(({ typeUrl, version }) => `${typeUrl} ${version}`);
  const [before, afterMove, afterRoute] = [versions(one), versions(moved), versions(routed)];
  t.notSame(afterMove, before);
  t.notSame(afterRoute, before);
  t.notSame(afterRoute, afterMove);
});

t.test("each node's own resource binds the sets that all share", async (t) => {
  const content = exampleSnapshot({ version: "" });
  const cache = createSnapshotCache(({ service }) => ({
    ...content,
    version: service,
    inbound: { mtlsMode: service === "open" ? "PERMISSIVE" : "STRICT", maxRequests: 0 },
  }));
  const node = { id: "1", namespace: "default", protocol: "http", upstreams: [], zone: "" } as const;
  const targets = ["open", "shut"].map((service) => cache.get({ ...node, service }));
  const [open, shut] = targets.map((target) => target?.resources);
  for (const typeUrl of [typeUrls.cluster, typeUrls.endpoint, typeUrls.listener, typeUrls.route])
    t.equal(open?.get(typeUrl), shut?.get(typeUrl));
  t.same(
    targets.map((target) => target?.resources.get(typeUrls.snapshot)?.version),
    ["open", "shut"],
  );
  t.notSame(open?.get(typeUrls.snapshot)?.resources, shut?.get(typeUrls.snapshot)?.resources);
});
