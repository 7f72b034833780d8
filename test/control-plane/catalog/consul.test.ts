/** The decisions behind the Consul catalog, as tables, and its loops on a fake clock. */
import { setImmediate as turn } from "node:timers/promises";
import fc from "fast-check";
import t from "tap";
import { freshPace, nextIndex, spend, startBlockingQuery } from "../../../src/consul/blocking-query.js";
import type { Trust } from "../../../control-plane/catalog/consul-doubt.js";
import {
  assertUnlisted,
  DoubtfulAnswer,
  freshTrust,
  holdMs,
  isSuspiciousDrop,
  judge,
} from "../../../control-plane/catalog/consul-doubt.js";
import {
  isMeshService,
  mergeInstances,
  readHealthEntries,
  readServiceNames,
  statusOf,
} from "../../../control-plane/catalog/consul-health.js";
import type { ConsulAnswer, ConsulGet, ConsulRead } from "../../../src/consul/consul-http.js";
import { createConsulHttp, parseConsulUrl } from "../../../src/consul/consul-http.js";
import { watchService } from "../../../control-plane/catalog/consul-service.js";
import {
  bridgeUnproven,
  nothingBridged,
  unprovenHoldMs,
} from "../../../control-plane/catalog/consul-unproven.js";
import { ConfigError } from "../../../src/errors/config-error.js";
import { FakeClock } from "../../support/fake-clock.js";

const accept = (): undefined => undefined;

type Fields = Readonly<Record<string, unknown>>;

/** One item of a health answer in Consul's form. */
function entry(
  service: Readonly<Record<string, unknown>>,
  checks: readonly object[] = [],
  node: Readonly<Record<string, unknown>> = {},
): object {
  return {
    Node: { Node: "n1", Address: "10.0.0.1", Meta: { zone: "a" }, ...node },
    Service: { ID: "web-1", Service: "web", Address: "", Port: 8080, Meta: {}, Tags: [], ...service },
    Checks: checks,
  };
}

function proxy(
  destination: string,
  service: Readonly<Record<string, unknown>> = {},
  checks: object[] = [],
): object {
  return entry(
    {
      ...{
        Kind: "connect-proxy",
        ID: `${destination}-sidecar-proxy`,
        Service: "web-sidecar-proxy",
        Port: 20_000,
      },
      Proxy: { DestinationServiceName: "web", DestinationServiceID: destination, LocalServicePort: 8080 },
      ...service,
    },
    checks,
  );
}

const read = (...items: object[]) => readHealthEntries(items) ?? [];

t.test("the index to wait above", async (t) => {
  for (const [previous, received, next] of [
    [0, 7, 7],
    [7, 7, 7],
    [7, 9, 9],
    [9, 7, 0], // backwards
    [9, 0, 1],
    [0, 0, 1], // absent or zero
  ] as const)
    t.equal(nextIndex(previous, received), next, `${previous} then ${received}`);
});

t.test("answers are spaced by 100 ms after a burst of two", async (t) => {
  let pace = freshPace;
  const waits: number[] = [];
  for (let n = 0; n < 4; n++) (({ pace } = spend(pace, 0)), waits.push(Math.max(0, -pace.tokens * 100)));
  t.strictSame(waits, [0, 0, 100, 200]);
  t.equal(spend({ tokens: 0, atMs: 0 }, 100).waitMs, 0, "one token after 100 ms");
  fc.assert(
    fc.property(fc.array(fc.nat(300), { minLength: 3, maxLength: 40 }), (gaps) => {
      let state = freshPace;
      let nowMs = 0;
      for (const gap of gaps) {
        const next = spend(state, nowMs);
        state = next.pace;
        nowMs += next.waitMs + gap;
      }
      return nowMs >= (gaps.length - 2) * 100 - 1e-6;
    }),
  );
});

t.test("status of an instance: the worst check", async (t) => {
  const check = (id: string, status: string): object => ({ CheckID: id, Status: status });
  for (const [checks, status] of [
    [[], "passing"],
    [[check("a", "passing"), check("b", "warning")], "warning"],
    [[check("a", "critical"), check("b", "warning")], "critical"],
    [[check("_node_maintenance", "critical"), check("b", "passing")], "maintenance"],
    [[check("a", "critical"), check("_service_maintenance:web-1", "critical")], "maintenance"],
    [[check("a", "unknown")], "critical"],
    [[null, 5], "critical"],
    ["nonsense", "passing"],
  ] as const)
    t.equal(statusOf(checks), status, JSON.stringify(checks));
});

t.test("what is in another datacenter is reached at its WAN addresses, part by part", async (t) => {
  const node = { TaggedAddresses: { lan: "10.0.0.1", wan: "203.0.113.1" } };
  const wan = (Address: string, Port: number): Fields => ({ TaggedAddresses: { wan: { Address, Port } } });
  const table: [service: Fields, node: Fields, here: string, elsewhere: string][] = [
    [{}, node, "10.0.0.1:8080", "203.0.113.1:8080"],
    [{}, {}, "10.0.0.1:8080", "10.0.0.1:8080"],
    [{ Address: "10.0.0.9" }, node, "10.0.0.9:8080", "10.0.0.9:8080"],
    [{ Address: "10.0.0.9", ...wan("203.0.113.9", 443) }, node, "10.0.0.9:8080", "203.0.113.9:443"],
    [{ Address: "10.0.0.9", ...wan("203.0.113.9", 0) }, {}, "10.0.0.9:8080", "203.0.113.9:8080"],
    [wan("", 443), node, "10.0.0.1:8080", "203.0.113.1:443"],
    [{ TaggedAddresses: { wan: 7 } }, { TaggedAddresses: "x" }, "10.0.0.1:8080", "10.0.0.1:8080"],
  ];
  for (const [service, at, ...expected] of table) {
    const found = [false, true].map((isElsewhere) => {
      const entries = readHealthEntries([entry(service, [], at)], isElsewhere) ?? [];
      const [found] = mergeInstances("web", entries, [], accept).instances;
      return `${found?.address}:${found?.port}`;
    });
    t.same(found, expected, JSON.stringify(service));
  }
  const sidecar = readHealthEntries([proxy("web-1", wan("203.0.113.9", 21_000))], true) ?? [];
  t.match(
    mergeInstances("web", readHealthEntries([entry({})], true) ?? [], sidecar, accept).instances,
    [{ address: "203.0.113.9", meshPort: 21_000, port: 8080 }],
    "of the sidecar: it is what peers dial",
  );
  const loopback = entry({ ...wan("127.0.0.1", 443) });
  t.match(mergeInstances("web", readHealthEntries([loopback], true) ?? [], [], accept).refused, [
    /is loopback, its node "10\.0\.0\.1" is not/,
  ]);
});

t.test("services and sidecars are joined", async (t) => {
  const merge = (entries: object[], proxies: object[]) =>
    mergeInstances("web", read(...entries), read(...proxies), accept);
  const only = (entries: object[], proxies: object[]) => merge(entries, proxies).instances[0];

  t.match(only([entry({})], []), {
    id: "n1/web-1",
    address: "10.0.0.1",
    port: 8080,
    meshPort: undefined,
    zone: "a",
  });
  t.match(
    only([entry({ Address: "10.0.0.9" })], []),
    { address: "10.0.0.9" },
    "the service's own address wins",
  );
  t.match(only([entry({})], [proxy("web-1")]), { port: 8080, meshPort: 20_000 });
  t.match(only([entry({})], [proxy("")]), { id: "n1/web-1", meshPort: 20_000 }, "the only one on its node");
  t.equal(
    merge([entry({}), entry({ ID: "web-2" })], [proxy("")]).instances.length,
    3,
    "not guessed among several",
  );
  t.match(only([], [proxy("web-1")]), { id: "n1/web-1", port: 8080, meshPort: 20_000 }, "a sidecar alone");
  t.same(merge([], [proxy("web-1", { Proxy: { DestinationServiceName: "other" } })]).instances, []);
  t.same(merge([entry({ Kind: "mesh-gateway" })], []).instances, [], "gateways are no instances");
  const two = merge([entry({}), entry({}, [], { Node: "n2", Address: "10.0.0.2" })], [proxy("web-1")]);
  t.match(two.instances, [
    { id: "n1/web-1", meshPort: 20_000 },
    { id: "n2/web-1", meshPort: undefined },
  ]);

  const bad = { CheckID: "x", Status: "critical", Type: "tcp", Output: "refused" };
  const alias = { CheckID: "y", Status: "critical", Type: "alias", Output: "" };
  t.equal(only([entry({})], [proxy("web-1", {}, [bad])])?.status, "critical", "its sidecar is down");
  t.equal(
    only([entry({})], [proxy("web-1", {}, [alias])])?.status,
    "passing",
    "the service's own checks count",
  );
  t.equal(only([], [proxy("web-1", {}, [alias])])?.status, "critical", "unless they are not there");

  const weights = { Weights: { Passing: 10, Warning: 3 }, Meta: { protocol: "HTTP2" }, Tags: ["a", 5] };
  t.match(only([entry(weights)], []), { weight: 10, protocol: "http2", tags: ["a"] });
  t.match(only([entry(weights, [{ CheckID: "a", Status: "warning" }])], []), { weight: 3 });
  t.match(only([entry({ Weights: { Passing: 0 }, Meta: { protocol: "smtp" } })], []), {
    weight: 1,
    protocol: "http",
  });
});

t.test("row 71: what nobody should connect to is left out", async (t) => {
  for (const [service, node, reason] of [
    [{ Address: "169.254.169.254" }, {}, /link-local/],
    [{ Address: "::ffff:169.254.169.254" }, {}, /link-local/],
    [{ Address: "0.0.0.0" }, {}, /unspecified/],
    [{ Address: "::" }, {}, /unspecified/],
    [{ Address: "fe80::1%eth0" }, {}, /no IP/],
    [{ Address: "255.255.255.255" }, {}, /multicast/],
    [{ Address: "127.0.0.1" }, {}, /loopback/],
    [{ Address: "::ffff:127.0.0.1" }, {}, /loopback/],
    [{ Address: "api.internal" }, {}, /no IP/],
    [{ Port: 0 }, {}, /port 0/],
    [{ Port: 70_000 }, {}, /port 70000/],
    [{ Port: "80" }, {}, /port -1/],
    [{ Address: "10.0.0.7", Port: 9999 }, {}, /own admin/],
    [{ Address: "127.0.0.1" }, { Address: "127.0.0.1" }, undefined],
    [{ Address: "fd00::7" }, {}, undefined],
  ] as const) {
    const { instances, refused } = mergeInstances("web", read(entry(service, [], node)), [], (_, port) =>
      port === 9999 ? "our own admin listener" : undefined,
    );
    t.equal(instances.length, reason === undefined ? 1 : 0, JSON.stringify(service));
    if (reason !== undefined) t.match(refused.join(), reason);
  }
  const twice = mergeInstances("web", read(entry({}), entry({})), [], accept);
  t.equal(twice.instances.length, 1);
  t.match(twice.refused, [/twice/]);
  for (const name of ["consul", "web-sidecar-proxy", "../etc", "Web", "a b", "", "a/b", "x".repeat(64)])
    t.notOk(isMeshService(name), name);
  t.ok(isMeshService("web-api_2.v1"));
});

t.test("nonsense from the registry is refused as a whole or survived", async (t) => {
  for (const body of [null, {}, "x", [null], [{}], [{ Node: {} }], [{ Node: {}, Service: 5 }]])
    t.equal(readHealthEntries(body), undefined, JSON.stringify(body));
  for (const body of [null, [], "x", 5]) t.equal(readServiceNames(body), undefined, JSON.stringify(body));
  fc.assert(
    fc.property(
      fc.array(fc.record({ Node: fc.object(), Service: fc.object(), Checks: fc.jsonValue() })),
      (items) => {
        const entries = readHealthEntries(JSON.parse(JSON.stringify(items))) ?? [];
        const { instances } = mergeInstances("web", entries, entries, accept);
        return instances.every(({ port, weight }) => port >= 0 && port <= 65_535 && weight >= 1);
      },
    ),
  );
});

t.test("losses that nobody believes yet", async (t) => {
  const trusted = (index: number, wasFiltered = false): Trust => ({ state: "trusted", index, wasFiltered });
  const ask = (
    trust: Trust,
    has: string[],
    more: { index?: number; isFiltered?: boolean; nowMs?: number } = {},
  ) => judge(trust, { had: ["a", "b"], has: new Set(has), index: 10, isFiltered: false, nowMs: 0, ...more });

  t.same([...ask(trusted(9), ["a", "b", "c"]).held], [], "more is always taken");
  t.same([...ask(trusted(9), ["a"]).held], [], "a deregistration");
  t.same([...ask(trusted(9), []).held], ["a", "b"], "everything at once");
  t.same([...ask(trusted(11), ["a"]).held], ["b"], "index backwards");
  t.same([...ask(trusted(9), ["a"], { isFiltered: true }).held], ["b"], "permission lost");
  t.same([...ask(trusted(9, true), ["a"], { isFiltered: true }).held], [], "permission never was complete");
  t.same([...ask(freshTrust, ["a", "b"]).held], []);

  for (const [has, more, end] of [
    [[], {}, holdMs],
    [["a"], { index: 3 }, holdMs],
    [[], { isFiltered: true }, Infinity],
  ] as const) {
    let { trust } = ask(trusted(9), [...has], { ...more, nowMs: 1000 });
    let judged = ask(trust, [...has], { ...more, nowMs: 1000 + holdMs - 1 });
    t.ok(judged.held.size > 0 && judged.reason !== "", `held: ${judged.reason}`);
    ({ trust } = judged);
    judged = ask(trust, [...has], { ...more, nowMs: 1000 + holdMs });
    t.equal(judged.held.size === 0, end !== Infinity, "until its time is over");
  }
  const held = ask(trusted(11), ["a"]).trust;
  t.same([...ask(held, ["a"], { index: 50, nowMs: 5 }).held], ["b"], "a higher index alone proves nothing");
  t.equal(ask(held, ["a", "b"], { index: 50 }).trust.state, "trusted", "they are back");

  for (const [before, after, isSuspicious] of [
    [0, 0, false],
    [1, 0, true],
    [3, 1, false],
    [4, 1, true],
    [4, 2, false],
    [50, 2, true],
  ] as const)
    t.equal(isSuspiciousDrop(before, after), isSuspicious, `${before} -> ${after}`);
  t.throws(() => assertUnlisted(new Set(["web"]), new Set(["consul", "web"])), DoubtfulAnswer);
  assertUnlisted(new Set(["web"]), new Set(["consul"]));
});

t.test("an agent that restarted says critical before it knows", async (t) => {
  const passing = { CheckID: "c", Status: "passing", Type: "tcp", Output: "ok" };
  const never = { CheckID: "c", Status: "critical", Type: "tcp", Output: "" };
  const failed = { CheckID: "c", Status: "critical", Type: "tcp", Output: "refused" };
  const status = (bridged: { entries: readonly { status: string }[] }): string | undefined =>
    bridged.entries[0]?.status;
  const at = (checks: object[], before = nothingBridged, nowMs = 0) =>
    bridgeUnproven(read(entry({}, checks)), before, nowMs);

  t.equal(status(at([never])), "critical", "a new instance waits for its checks");
  const known = at([passing]);
  t.equal(status(at([failed], known)), "critical");
  t.equal(status(at([{ ...never, Type: "ttl" }], known)), "critical", "its owner said so");
  const bridged = at([never], known, 1000);
  t.equal(status(bridged), "passing");
  t.equal(status(at([never, { ...failed, CheckID: "d" }], known)), "critical", "another check did fail");
  t.equal(status(at([never], bridged, 1000 + unprovenHoldMs - 1)), "passing");
  t.equal(status(at([never], bridged, 1000 + unprovenHoldMs)), "critical", "for a bounded time");
});

/** Answers reads from a script and keeps what was asked. */
function scripted(): {
  readonly get: ConsulGet;
  readonly reads: ConsulRead[];
  answer(body: unknown, index?: number): Promise<void>;
  fail(message: string): Promise<void>;
} {
  const reads: ConsulRead[] = [];
  const open: { resolve(answer: ConsulAnswer): void; reject(error: Error): void }[] = [];
  const settled = async (): Promise<void> => {
    for (let n = 0; n < 5; n++) await turn();
  };
  return {
    reads,
    get: (asked) =>
      new Promise((resolve, reject) => {
        reads.push(asked);
        open.push({ resolve, reject });
      }),
    answer: async (body, index = 1) => {
      open.shift()?.resolve({ body, index, isFiltered: false });
      await settled();
    },
    fail: async (message) => {
      open.shift()?.reject(new Error(message));
      await settled();
    },
  };
}

t.test("the loop waits above the last index, backs off and starts anew", async (t) => {
  const clock = new FakeClock();
  const ended = new AbortController();
  const consul = scripted();
  const seen: unknown[] = [];
  const errors: string[] = [];
  const query = startBlockingQuery({
    ...{ get: consul.get, path: "/x", clock, signal: ended.signal },
    onAnswer: ({ body }) => {
      if (body === "doubtful") throw new DoubtfulAnswer("no");
      seen.push(body);
    },
    onError: (error) => errors.push(error.message),
  });
  const last = (): ConsulRead | undefined => consul.reads.at(-1);
  t.match(last(), { consistency: "stale", block: undefined });
  await consul.answer("one", 7);
  t.match(last()?.block, { index: 7, waitMs: 300_000 });
  await consul.answer("two", 5);
  t.equal(last()?.block, undefined, "backwards: read at once");
  await consul.answer("three", 6);
  t.equal(consul.reads.length, 3, "the burst is spent");
  clock.advance(100);
  await turn();
  t.match(last()?.block, { index: 6 });

  clock.randoms = [0.999];
  for (const waitMs of [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]) {
    await consul.fail("No cluster leader");
    const count = consul.reads.length;
    clock.advance(waitMs * 0.99);
    await turn();
    t.equal(consul.reads.length, count, `not before ${waitMs} ms`);
    clock.advance(waitMs * 0.01);
    await turn();
    t.equal(consul.reads.length, count + 1, `after ${waitMs} ms`);
    t.equal(last()?.block, undefined, "the index may be another one now");
  }
  await consul.answer("doubtful", 9);
  t.equal(errors.length, 10, "an answer that is not believed is a failure");
  const count = consul.reads.length;
  query.retryNow();
  await turn();
  t.equal(consul.reads.length, count + 1, "unless somebody else reached the agent");
  t.strictSame(seen, ["one", "two", "three"]);
  ended.abort();
  await consul.answer("late");
  t.strictSame(seen, ["one", "two", "three"], "nothing after the end");
  t.equal(clock.pendingTimers, 0);
});

t.test("more services than connections are polled", async (t) => {
  const clock = new FakeClock();
  const consul = scripted();
  const ended = new AbortController();
  startBlockingQuery({
    ...{ get: consul.get, path: "/x", clock, signal: ended.signal },
    ...{ pollEveryMs: () => 1000, onAnswer: () => undefined, onError: () => undefined },
  });
  await consul.answer("one", 7);
  t.equal(consul.reads.length, 1);
  clock.advance(1000);
  await turn();
  t.match(consul.reads[1], { block: undefined });
  ended.abort();
});

t.test("most instances lost: the leader is asked, and only what it confirms is lost", async (t) => {
  const clock = new FakeClock();
  const consul = scripted();
  const problems: (string | undefined)[] = [];
  const instance = (n: number): object => entry({ ID: `web-${n}` });
  const all = [1, 2, 3, 4].map(instance);
  const watch = watchService({
    ...{ name: "web", get: consul.get, clock, pollEveryMs: () => undefined, refuse: accept },
    confirmUnlisted: () => Promise.reject(new DoubtfulAnswer("still listed")),
    ...{ onChange: () => undefined, onRefused: () => undefined },
    onProblem: (_, error) => problems.push(error?.message),
  });
  const count = (): number | undefined => watch.instances()?.length;
  const connectRead = 1;
  t.match(consul.reads[connectRead]?.path, "/health/connect/web");
  await consul.answer(all, 5);
  t.equal(count(), undefined, "only half is known");
  await consul.answer([], 5);
  t.equal(count(), 4);
  t.ok(watch.isSettled());
  await consul.answer([instance(1)], 6);
  t.equal(count(), 4, "not yet");
  clock.advance(200);
  await turn();
  t.match(consul.reads.at(-1), { consistency: "default", block: undefined });
  watch.close();
});

t.test("addresses of Consul", async (t) => {
  for (const text of ["", "127.0.0.1:8500", "ftp://x", "http://user@x", "http://x/?token=1"])
    t.throws(() => parseConsulUrl(text), ConfigError, text);
  t.equal(parseConsulUrl("https://consul.example:8501/prefix").pathname, "/prefix");
  t.throws(
    () => createConsulHttp({ url: "https://x", caFile: "/nonexistent.pem", clock: new FakeClock() }),
    /cannot read Consul's CA file/,
  );
});
