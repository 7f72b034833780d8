/** Sidecar's client and control plane's server together, over real gRPC on loopback. */
import type { Client } from "@grpc/grpc-js";
import t from "tap";
import type { Test } from "tap";
import type { Snapshot } from "../../src/config/snapshot.js";
import { createAdsClient } from "../../src/discovery/ads-client.js";
import type { AdsClient, AdsState } from "../../src/discovery/ads-client.js";
import { trustSet } from "../../src/discovery/trust-resource.js";
import type { MeshTrust } from "../../src/identity/mesh-trust.js";
import { typeUrls } from "../../src/discovery/resource.js";
import { LatestValue } from "../../src/lifecycle/latest-value.js";
import { adsChannel, exampleNode, startAds } from "../support/ads-harness.js";
import type { AdsHarness } from "../support/ads-harness.js";
import { eventually } from "../support/eventually.js";
import { exampleSnapshot } from "../support/example-snapshot.js";
import { FakeClock } from "../support/fake-clock.js";

interface Sidecar {
  readonly client: AdsClient;
  readonly channel: LatestValue<Client | undefined>;
  readonly applied: Snapshot[];
  readonly states: AdsState[];
  readonly clock: FakeClock;
}

function startSidecar(
  t: Test,
  port: number,
  apply: (snapshot: Snapshot) => void = () => undefined,
  onTrust: (trust: MeshTrust) => void = () => undefined,
): Sidecar {
  const channel = new LatestValue<Client | undefined>(adsChannel(port));
  const applied: Snapshot[] = [];
  const states: AdsState[] = [];
  const clock = new FakeClock();
  const client = createAdsClient({
    client: channel,
    node: exampleNode,
    clock,
    onSnapshot: (snapshot) => {
      apply(snapshot);
      applied.push(snapshot);
    },
    onTrust,
    onState: (state) => states.push(state),
  });
  t.teardown(() => {
    client.close();
    channel.get()?.close();
  });
  return { client, channel, applied, states, clock };
}

async function start(t: Test, ...args: Parameters<typeof startAds>): Promise<AdsHarness> {
  const ads = await startAds(...args);
  t.teardown(() => ads.close());
  return ads;
}

const version = (sidecar: Sidecar): string | undefined => sidecar.applied.at(-1)?.version;
const onlySession = (ads: AdsHarness): ReturnType<AdsHarness["service"]["sessions"]>[number] => {
  const [session, ...others] = ads.service.sessions();
  if (session === undefined || others.length > 0) throw new Error(`${others.length + 1} sessions`);
  return session;
};

t.test("brings the first snapshot exactly, and reports it accepted", async (t) => {
  const first = exampleSnapshot({ version: "v1", services: ["api", "orders"], endpointsPerService: 3 });
  const ads = await start(t, first);
  const sidecar = startSidecar(t, ads.port);
  await eventually("first snapshot", () => sidecar.applied.length > 0);
  t.same(sidecar.applied, [first]);
  await eventually("ACK", () => onlySession(ads).state === "SYNCED");
  t.match(onlySession(ads), {
    node: exampleNode,
    sentVersion: "v1",
    ackedVersion: "v1",
    nackReason: undefined,
  });
  t.match(sidecar.client.state(), { connected: true, version: "v1", nacks: 0, lastError: undefined });
});

t.test("whom the mesh believes arrives apart from the snapshot, and it is known who has it", async (t) => {
  const trust = new LatestValue<MeshTrust>({ version: "t1", bundles: new Map(), revoked: new Set(["01"]) });
  const snapshot = new LatestValue<Snapshot | undefined>(undefined);
  const ads = await start(t, undefined, {
    snapshotFor: () => snapshot.get(),
    trust: () => trustSet(trust.get()),
    changes: (listener) => {
      const stops = [snapshot.watch(listener), trust.watch(listener)];
      return () => stops.forEach((stop) => stop());
    },
  });
  const believed: MeshTrust[] = [];
  const sidecar = startSidecar(
    t,
    ads.port,
    () => undefined,
    (now) => {
      if (now.version === "bad") throw new Error("nobody can believe this");
      believed.push(now);
    },
  );
  const trustOf = (): string | undefined => ads.service.sessions()[0]?.trustVersion;
  await eventually("trust before any snapshot", () => trustOf() === "t1");
  t.same(believed, [trust.get()]);
  t.equal(onlySession(ads).state, "STALE");
  snapshot.set(exampleSnapshot({ version: "v1" }));
  await eventually("snapshot", () => onlySession(ads).state === "SYNCED");
  const before = ads.pushed.length;
  trust.set({ ...trust.get(), version: "bad" });
  await eventually("NACK", () => onlySession(ads).state === "NACK");
  t.match(onlySession(ads), {
    trustVersion: "t1",
    ackedVersion: "v1",
    nackReason: "nobody can believe this",
  });
  trust.set({ ...trust.get(), version: "t2", revoked: new Set(["02"]) });
  await eventually("newer trust", () => trustOf() === "t2");
  t.equal(onlySession(ads).state, "SYNCED");
  t.same(ads.pushed.slice(before), [typeUrls.trust, typeUrls.trust], "nothing else is sent again");
  t.equal(version(sidecar), "v1");
});

t.test("a change of endpoints sends only the endpoints that changed", async (t) => {
  const ads = await start(t, exampleSnapshot({ version: "v1", services: ["api", "orders"] }));
  const sidecar = startSidecar(t, ads.port);
  await eventually("first snapshot", () => version(sidecar) === "v1");
  const before = ads.pushed.length;
  const now = exampleSnapshot({ version: "v2", services: ["api", "orders"] });
  const [api] = exampleSnapshot({ version: "v2", port: 9005 }).endpoints.values();
  ads.snapshot.set({ ...now, endpoints: new Map([...now.endpoints, ["api.default", api ?? []]]) });
  await eventually("second snapshot", () => version(sidecar) === "v2");
  t.same(ads.pushed.slice(before), [typeUrls.endpoint, typeUrls.snapshot]);
  const [old, fresh] = sidecar.applied;
  t.equal(fresh?.endpoints.get("api.default")?.[0]?.port, 9005);
  t.equal(fresh?.endpoints.get("orders.default"), old?.endpoints.get("orders.default"), "the same object");
  t.equal(fresh?.virtualHosts[0], old?.virtualHosts[0], "the same object");
});

t.test("services come and go in one step each", async (t) => {
  const ads = await start(t, exampleSnapshot({ version: "v1", services: ["api"] }));
  const sidecar = startSidecar(t, ads.port);
  await eventually("first snapshot", () => version(sidecar) === "v1");
  const steps = [["api", "orders"], ["orders"], [], ["web", "api"]];
  for (const [i, services] of steps.entries()) {
    const next = exampleSnapshot({ version: `step-${i}`, services });
    ads.snapshot.set(next);
    await eventually(`step ${i}`, () => version(sidecar) === next.version);
    t.same(sidecar.applied.at(-1), next);
    await eventually("ACK", () => onlySession(ads).ackedVersion === next.version);
  }
  t.equal(sidecar.applied.length, 1 + steps.length, "nothing in between was applied");
});

t.test("a refused snapshot is reported with its reason and not sent again; the old stays", async (t) => {
  const ads = await start(t, exampleSnapshot({ version: "v1" }));
  const sidecar = startSidecar(t, ads.port, ({ version }) => {
    if (version === "bad") throw new Error("route default: regular expression too large");
  });
  await eventually("first snapshot", () => version(sidecar) === "v1");
  ads.snapshot.set(exampleSnapshot({ version: "bad", prefix: "/bad" }));
  await eventually("NACK", () => onlySession(ads).state === "NACK");
  t.match(onlySession(ads), {
    nackReason: "route default: regular expression too large",
    ackedVersion: "v1",
  });
  t.match(sidecar.client.state(), { nacks: 1, version: "v1", connected: true });
  t.ok(ads.logged.includes("warn a sidecar refused its configuration"));

  const before = ads.pushed.length;
  ads.snapshot.set(exampleSnapshot({ version: "bad", prefix: "/bad" }));
  ads.snapshot.set(exampleSnapshot({ version: "v3", prefix: "/good" }));
  await eventually("recovery", () => onlySession(ads).ackedVersion === "v3");
  t.equal(onlySession(ads).state, "SYNCED");
  t.same(ads.pushed.slice(before), [typeUrls.route, typeUrls.snapshot], "no second try of the bad one");
});

t.test("a snapshot that contradicts itself is refused before it is applied", async (t) => {
  const good = exampleSnapshot({ version: "v1" });
  const ads = await start(t, good);
  const sidecar = startSidecar(t, ads.port);
  await eventually("first snapshot", () => version(sidecar) === "v1");
  ads.snapshot.set({ ...good, version: "dangling", clusters: [], endpoints: new Map() });
  await eventually("NACK", () => onlySession(ads).state === "NACK");
  t.match(onlySession(ads).nackReason, /cluster api\.default does not exist/);
  t.equal(version(sidecar), "v1");
});

t.test("comes back after a restart of the control plane, serving on meanwhile", async (t) => {
  const first = exampleSnapshot({ version: "v1" });
  const ads = await startAds(first);
  const sidecar = startSidecar(t, ads.port);
  await eventually("first snapshot", () => version(sidecar) === "v1");
  ads.close();
  await eventually("loss noticed", () => !sidecar.client.state().connected);
  t.match(sidecar.client.state(), { version: "v1", lastError: /.+/ });
  t.equal(sidecar.applied.length, 1, "nothing was taken away");

  const again = await start(t, exampleSnapshot({ version: "v2", prefix: "/v2" }), { port: ads.port });
  await eventually("second snapshot", () => {
    sidecar.clock.advance(200); // past whatever wait is pending
    return version(sidecar) === "v2";
  });
  t.ok(sidecar.client.state().connected);
  await eventually("ACK", () => onlySession(again).state === "SYNCED");
});

t.test("waits longer after each failure, at most 10 s", async (t) => {
  const ads = await startAds(undefined);
  ads.close(); // now nobody listens on the port
  const sidecar = startSidecar(t, ads.port);
  sidecar.clock.randoms = [0.999];
  for (let i = 0; i < 10; i++) {
    const ended = (): boolean => sidecar.states.length > i;
    await eventually(`failure ${i + 1}`, ended);
    const waitMs = Math.min(10_000, 100 * 2 ** i) * 0.999;
    sidecar.clock.advance(waitMs - 1);
    t.equal(sidecar.clock.pendingTimers, 1, "still waiting");
    sidecar.clock.advance(2);
  }
  t.ok(sidecar.states.every(({ connected }) => !connected));
  t.match(sidecar.client.state().lastError, /ECONNREFUSED|No connection/);
});

t.test("moves to a new stream before it drops the old one", async (t) => {
  const ads = await start(t, exampleSnapshot({ version: "v1" }));
  const sidecar = startSidecar(t, ads.port);
  await eventually("first snapshot", () => version(sidecar) === "v1");
  const [before] = ads.service.sessions();
  const old = sidecar.channel.get();
  sidecar.channel.set(adsChannel(ads.port)); // a certificate was renewed
  await eventually("the new stream", () => {
    const sessions = ads.service.sessions();
    return sessions.length === 1 && sessions[0]?.peer !== before?.peer;
  });
  old?.close();
  ads.snapshot.set(exampleSnapshot({ version: "v2", prefix: "/v2" }));
  await eventually("second snapshot", () => version(sidecar) === "v2");
  t.ok(
    sidecar.states.every(({ connected }) => connected),
    "never without a stream",
  );
});

t.test("a node that the control plane refuses says why and tries again later", async (t) => {
  const reason = "the certificate is of service api, the node says web";
  const ads = await start(t, exampleSnapshot({ version: "v1" }), { authorize: () => reason });
  const sidecar = startSidecar(t, ads.port);
  await eventually("refusal", () => sidecar.client.state().lastError?.includes(reason));
  t.same(sidecar.applied, []);
  t.same(ads.service.sessions(), []);
  t.equal(sidecar.clock.pendingTimers, 1, "the next try is scheduled");
});

t.test("a snapshot of several MiB arrives whole", async (t) => {
  const big = exampleSnapshot({ version: "big", services: ["api"], endpointsPerService: 60_000 });
  const ads = await start(t, big);
  const sidecar = startSidecar(t, ads.port);
  await eventually("snapshot", () => version(sidecar) === "big");
  t.equal(sidecar.applied[0]?.endpoints.get("api.default")?.length, 60_000);
});

t.test("a response above the limit is not sent, and reported", async (t) => {
  const ads = await start(t, exampleSnapshot({ version: "v1" }));
  const sidecar = startSidecar(t, ads.port);
  await eventually("first snapshot", () => version(sidecar) === "v1");
  const next = exampleSnapshot({ version: "huge", prefix: `/${"x".repeat(33 * 1024 * 1024)}` });
  ads.snapshot.set(next);
  await eventually("refusal", () => onlySession(ads).state === "NACK");
  t.match(onlySession(ads).nackReason, /not sent: .*RouteConfiguration has \d+ bytes, more than 33554432/);
  t.equal(version(sidecar), "v1");
  t.ok(sidecar.client.state().connected);
});
