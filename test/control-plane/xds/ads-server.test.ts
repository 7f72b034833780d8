/** The server's side of the protocol, against a client that answers only what the test makes it answer. */
import t from "tap";
import type { Test } from "tap";
import { encodeNode } from "../../../src/discovery/node.js";
import { typeUrls } from "../../../src/discovery/resource.js";
import { adsChannel, exampleNode, openRawAds, startAds } from "../../support/ads-harness.js";
import type { AdsHarness, RawAds, RawResponse } from "../../support/ads-harness.js";
import { eventually } from "../../support/eventually.js";
import { exampleSnapshot } from "../../support/example-snapshot.js";
import { FakeClock } from "../../support/fake-clock.js";

const { cluster, endpoint, listener, route, snapshot } = typeUrls;

async function start(t: Test, ...args: Parameters<typeof startAds>): Promise<AdsHarness> {
  const ads = await startAds(...args);
  t.teardown(() => ads.close());
  return ads;
}

function connect(t: Test, ads: AdsHarness, node?: object): RawAds {
  const raw = openRawAds(ads.port, node);
  t.teardown(() => raw.close());
  return raw;
}

/** The nth response of a type, once it is there. */
function response(raw: RawAds, typeUrl: string, n = 0): Promise<RawResponse> {
  return eventually(
    `response ${n} of ${typeUrl}`,
    () => raw.responses.filter((r) => r.typeUrl === typeUrl)[n],
  );
}

function accept(
  raw: RawAds,
  { typeUrl, nonce, versionInfo }: RawResponse,
  resourceNames: string[] = [],
): void {
  raw.send({ typeUrl, responseNonce: nonce, versionInfo, resourceNames });
}

/** Resolves when the server has read everything that was sent before. */
async function settled(raw: RawAds): Promise<void> {
  const before = raw.responses.length;
  raw.send({ typeUrl: snapshot });
  await eventually("barrier", () => raw.responses.slice(before).some((each) => each.typeUrl === snapshot));
}

t.test(
  "a response names type, version and nonce, and equal content has an equal version anywhere",
  async (t) => {
    const versions: string[] = [];
    for (const services of [
      ["api", "orders"],
      ["api", "orders"],
    ]) {
      const ads = await start(t, exampleSnapshot({ version: "v1", services }));
      const raw = connect(t, ads);
      raw.send({ typeUrl: cluster });
      const { versionInfo, nonce, resources } = await response(raw, cluster);
      t.not(nonce, "");
      t.equal(resources.length, 2);
      t.ok(resources.every(({ type_url }) => type_url === cluster));
      versions.push(versionInfo);
    }
    t.equal(versions[0], versions[1]);
  },
);

t.test("only the names asked for are sent, and a new name is answered alone", async (t) => {
  const ads = await start(t, exampleSnapshot({ version: "v1", services: ["api", "orders"] }));
  const raw = connect(t, ads);
  raw.send({ typeUrl: endpoint, resourceNames: ["api.default", "unknown.default"] });
  const first = await response(raw, endpoint);
  t.equal(first.resources.length, 1);
  accept(raw, first, ["api.default", "orders.default"]);
  const second = await response(raw, endpoint, 1);
  t.equal(second.resources.length, 1, "api was accepted already");
  accept(raw, second, ["orders.default"]);
  await settled(raw);
  ads.snapshot.set(exampleSnapshot({ version: "v2", services: ["api", "orders"], port: 9009 }));
  const third = await response(raw, endpoint, 2);
  t.equal(third.resources.length, 1, "api is no longer wanted");
});

t.test("a request with an old nonce is ignored", async (t) => {
  const ads = await start(t, exampleSnapshot({ version: "v1" }));
  const raw = connect(t, ads);
  raw.send({ typeUrl: cluster });
  const first = await response(raw, cluster);
  ads.snapshot.set(exampleSnapshot({ version: "v2", services: ["api", "orders"] }));
  const second = await response(raw, cluster, 1);
  raw.send({ typeUrl: cluster, responseNonce: first.nonce, errorDetail: { code: 3, message: "too late" } });
  accept(raw, second);
  await eventually("ACK", () => ads.service.sessions()[0]?.state === "SYNCED");
  t.equal(ads.service.sessions()[0]?.nackReason, undefined);
  t.equal(raw.responses.length, 2);
});

t.test("what was refused is not sent again, not even after something else", async (t) => {
  const ads = await start(t, exampleSnapshot({ version: "good" }));
  const raw = connect(t, ads);
  raw.send({ typeUrl: route, resourceNames: ["api.default"] });
  accept(raw, await response(raw, route), ["api.default"]);
  await eventually("ACK", () => ads.service.sessions()[0]?.state === "SYNCED");
  const bad = exampleSnapshot({ version: "bad", prefix: "/bad" });
  ads.snapshot.set(bad);
  const refused = await response(raw, route, 1);
  raw.send({
    typeUrl: route,
    responseNonce: refused.nonce,
    resourceNames: ["api.default"],
    errorDetail: { code: 3, message: "no such prefix" },
  });
  const session = (): unknown => ads.service.sessions()[0];
  await eventually("NACK", () => ads.service.sessions()[0]?.state === "NACK");
  t.match(session(), { nackReason: "no such prefix" });
  // What it has accepted is in force again: nothing to send. Then the refused one once more: nothing either.
  ads.snapshot.set(exampleSnapshot({ version: "good" }));
  await eventually("SYNCED", () => ads.service.sessions()[0]?.state === "SYNCED");
  ads.snapshot.set(bad);
  await eventually("NACK", () => ads.service.sessions()[0]?.state === "NACK");
  t.equal(raw.responses.length, 2);
  ads.snapshot.set(exampleSnapshot({ version: "better", prefix: "/better" }));
  await response(raw, route, 2);
});

t.test("a cluster stays until the routes that leave it are accepted", async (t) => {
  const ads = await start(t, exampleSnapshot({ version: "v1", services: ["old"] }));
  const raw = connect(t, ads);
  raw.send({ typeUrl: cluster });
  raw.send({ typeUrl: listener });
  raw.send({ typeUrl: snapshot });
  accept(raw, await response(raw, cluster));
  accept(raw, await response(raw, listener));
  accept(raw, await response(raw, snapshot));
  await eventually("SYNCED", () => ads.service.sessions()[0]?.state === "SYNCED");
  ads.snapshot.set(exampleSnapshot({ version: "v2", services: ["new"] }));
  const added = await response(raw, cluster, 1);
  t.equal(added.resources.length, 2, "old and new");
  const listeners = await response(raw, listener, 1);
  t.equal(listeners.resources.length, 1);
  const binding = await response(raw, snapshot, 1);
  t.same(
    raw.responses.slice(3).map(({ typeUrl }) => typeUrl),
    [cluster, listener, snapshot],
    "additions before what refers to them",
  );
  accept(raw, added);
  accept(raw, binding);
  await eventually("both answers", () => ads.service.sessions()[0]?.lastAckAtMs !== undefined);
  accept(raw, listeners);
  const trimmed = await response(raw, cluster, 2);
  t.equal(trimmed.resources.length, 1, "only the new one");
  t.equal(ads.service.sessions()[0]?.state, "STALE", "until that is accepted too");
  accept(raw, trimmed);
  await eventually("SYNCED", () => ads.service.sessions()[0]?.ackedVersion === "v2");
});

t.test("a client that names its clusters has them until it names them no more", async (t) => {
  const ads = await start(t, exampleSnapshot({ version: "v1", services: ["old"] }));
  const raw = connect(t, ads);
  raw.send({ typeUrl: cluster, resourceNames: ["old.default"] });
  const first = await response(raw, cluster);
  accept(raw, first, ["old.default"]);
  await eventually("v1", () => ads.service.sessions()[0]?.ackedVersion === "v1");
  ads.snapshot.set(exampleSnapshot({ version: "v2", services: ["new"] }));
  await settled(raw);
  t.equal(raw.responses.length, 2, "absence would be deletion, with calls under way");
  accept(raw, first, ["old.default", "new.default"]);
  const both = await response(raw, cluster, 1);
  t.equal(both.resources.length, 2, "old and new");
  accept(raw, both, ["new.default"]);
  accept(raw, await response(raw, snapshot));
  await eventually("v2", () => ads.service.sessions()[0]?.ackedVersion === "v2");
  t.equal(raw.responses.length, 3, "and nothing more");
});

t.test("row 70: a client that does not read gets the newest, and costs one response", async (t) => {
  const big = (version: number): ReturnType<typeof exampleSnapshot> =>
    exampleSnapshot({ version: String(version), endpointsPerService: 2000, port: 9000 + version });
  const ads = await start(t, big(0));
  const raw = connect(t, ads);
  raw.call.pause();
  raw.send({ typeUrl: endpoint, resourceNames: ["api.default"] });
  const other = connect(t, ads, encodeNode({ ...exampleNode, id: "other" }));
  other.send({ typeUrl: endpoint, resourceNames: ["api.default"] });
  await response(other, endpoint);
  for (let i = 1; i <= 60; i++) {
    ads.snapshot.set(big(i));
    await response(other, endpoint, i);
  }
  t.ok(raw.responses.length <= 1);
  raw.call.resume();
  const newest = other.responses.at(-1)?.versionInfo;
  await eventually("the newest", () => raw.responses.at(-1)?.versionInfo === newest);
  // grpc-js reads 16 messages ahead of whoever does not take them; HTTP/2 windows hold the rest of these.
  t.ok(raw.responses.length <= 20, `${raw.responses.length} of 61 were sent`);
});

t.test("nodes of one need share one compilation", async (t) => {
  let compilations = 0;
  const ads = await start(t, undefined, {
    snapshotFor: (node) => {
      compilations++;
      return exampleSnapshot({ version: node.service });
    },
  });
  const nodes = Array.from({ length: 20 }, (_, i) => ({ ...exampleNode, id: `web-${i}`, zone: `z${i}` }));
  const raws = [...nodes, { ...exampleNode, service: "shop" }].map((node) =>
    connect(t, ads, encodeNode(node)),
  );
  for (const raw of raws) {
    raw.send({ typeUrl: cluster });
    accept(raw, await response(raw, cluster));
  }
  t.equal(compilations, 2);
  ads.snapshot.set(undefined); // a change, of whatever
  await eventually("all asked again", () => compilations === 4);
  t.ok(
    raws.every((raw) => raw.responses.length === 1),
    "nothing changed for anybody",
  );
});

t.test("a proxyless client without our metadata gets every service", async (t) => {
  const seen: unknown[] = [];
  const ads = await start(t, undefined, {
    snapshotFor: (node) => {
      seen.push(node);
      return exampleSnapshot({ version: "v1" });
    },
  });
  const raw = connect(t, ads, { id: "grpc-1", cluster: "web" });
  raw.send({ typeUrl: listener, resourceNames: ["api.default"] });
  t.equal((await response(raw, listener)).resources.length, 1);
  t.same(seen, [
    { id: "grpc-1", service: "web", namespace: "default", protocol: "http", upstreams: [], zone: "" },
  ]);
});

t.test("nothing known yet: accepted, and served when there is something", async (t) => {
  const ads = await start(t, undefined);
  const raw = connect(t, ads);
  let isAccepted = false;
  raw.call.on("metadata", () => (isAccepted = true));
  raw.send({ typeUrl: cluster });
  await eventually("accepted", () => isAccepted);
  t.match(ads.service.sessions(), [{ state: "STALE", sentVersion: undefined }]);
  ads.snapshot.set(exampleSnapshot({ version: "v1" }));
  await response(raw, cluster);
});

t.test("a compiler that throws costs nobody what they have", async (t) => {
  let isBroken = false;
  const ads = await start(t, exampleSnapshot({ version: "v1" }), {
    snapshotFor: () => {
      if (isBroken) throw new Error("broken");
      return exampleSnapshot({ version: "v1" });
    },
  });
  const raw = connect(t, ads);
  raw.send({ typeUrl: cluster });
  accept(raw, await response(raw, cluster));
  await eventually("ACK", () => ads.service.sessions()[0]?.state === "SYNCED");
  isBroken = true;
  ads.snapshot.set(exampleSnapshot({ version: "v2" }));
  await eventually("logged", () => ads.logged.some((line) => line.startsWith("error no configuration")));
  t.match(ads.service.sessions(), [{ state: "SYNCED", ackedVersion: "v1" }]);
  t.equal(raw.failure(), undefined);
});

t.test("bad callers are turned away and leave nothing behind", async (t) => {
  const clock = new FakeClock();
  const ads = await start(t, exampleSnapshot({ version: "v1" }), {
    clock,
    maxSessions: 2,
    authorize: (_call, node) => (node.service === "web" ? undefined : `you are web, not ${node.service}`),
  });
  const cases: readonly [what: string, node: object, request: object, failure: RegExp][] = [
    ["no id", { cluster: "web" }, { typeUrl: cluster }, /INVALID_ARGUMENT: request: node\.id: missing/],
    ["no service", { id: "x" }, { typeUrl: cluster }, /INVALID_ARGUMENT: request: node\.cluster: missing/],
    ["no type", { id: "x", cluster: "web" }, {}, /INVALID_ARGUMENT: request: type_url: missing/],
    [
      "another's name",
      { id: "x", cluster: "api" },
      { typeUrl: cluster },
      /PERMISSION_DENIED: you are web, not api/,
    ],
    [
      "too many names",
      { id: "x", cluster: "web" },
      { typeUrl: endpoint, resourceNames: Array.from({ length: 10_001 }, () => "x") },
      /INVALID_ARGUMENT: request: resource_names: more than 10000/,
    ],
    ["a long name", { id: "x".repeat(256), cluster: "web" }, { typeUrl: cluster }, /longer than 255/],
  ];
  for (const [what, node, request, failure] of cases) {
    const raw = connect(t, ads, node);
    raw.send(request);
    t.match((await eventually(what, raw.failure)).message, failure, what);
    t.same(raw.responses, [], what);
  }
  await eventually("no session is left", () => ads.service.sessions().length === 0);

  const silent = connect(t, ads);
  const unknown = connect(t, ads);
  unknown.send({ typeUrl: "type.googleapis.com/envoy.of.another.age" });
  await eventually("an unknown type is passed over", () => ads.service.sessions().length === 1);
  await eventually("both streams are there", () => clock.pendingTimers === 2);
  const third = connect(t, ads);
  t.match((await eventually("full", third.failure)).message, /RESOURCE_EXHAUSTED: 2 sidecars are connected/);
  clock.advance(10_000);
  t.match((await eventually("silent", silent.failure)).message, /DEADLINE_EXCEEDED/);
  unknown.close();
  await eventually("gone", () => ads.service.sessions().length === 0);
});

t.test("close() ends the streams, and later ones are refused", async (t) => {
  const ads = await start(t, exampleSnapshot({ version: "v1" }));
  const raw = connect(t, ads);
  raw.send({ typeUrl: cluster });
  await response(raw, cluster);
  ads.service.close();
  t.match(
    (await eventually("ended", raw.failure)).message,
    /UNAVAILABLE: the control plane is shutting down/,
  );
  const late = connect(t, ads);
  late.send({ typeUrl: cluster });
  t.match((await eventually("refused", late.failure)).message, /UNAVAILABLE/);
  t.same(ads.service.sessions(), []);
  adsChannel(ads.port).close();
});
