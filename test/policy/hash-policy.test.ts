import t from "tap";
import type { HashPolicy, HashSource } from "../../src/config/load-balancer-config.js";
import { hashPolicy } from "../../src/policy/hash-policy.js";
import { recallOrigin, RequestMemory } from "../../src/policy/request-memory.js";
import { RequestContext } from "../../src/stack/request-context.js";
import { xxHash64, type Hash64 } from "../../src/stack/xx-hash64.js";
import { cookieValue } from "../../src/traffic/cookie.js";
import { RecordedReply, ScriptedService, scriptedRequest } from "../support/scripted-service.js";
import { seeded } from "../support/seeded-random.js";

const part = (source: HashSource, isTerminal = false): HashPolicy => ({ ...source, isTerminal });
const header = (name: string): HashSource => ({ type: "header", name });
const query = (name: string): HashSource => ({ type: "query", name });
const cookie = (name: string, ttlMs?: number, path = "/"): HashSource => ({
  type: "cookie",
  name,
  path,
  ...(ttlMs === undefined ? {} : { ttlMs }),
});

const own = "spiffe://mesh.local/ns/default/svc/web";
const [shop, admin] = ["shop", "admin"].map((name) => `spiffe://mesh.local/ns/default/svc/${name}`);

/** One request through the layer: its key, and the cookies that its client is given. */
function send(
  parts: readonly HashPolicy[],
  headers: readonly string[] = [],
  target = "/",
): { key: Hash64 | undefined; given: readonly string[] } {
  const request = scriptedRequest({ headers });
  request.head.target = target;
  const service = new ScriptedService((attempt) => attempt.respond(200, ["content-type", "text/plain"]));
  const reply = new RecordedReply();
  hashPolicy(parts, { random: seeded(4) }, own)(service).call(request, reply);
  const given = reply.headers.filter((_, i) => i % 2 === 1 && reply.headers[i - 1] === "set-cookie");
  return { key: request.balanceKey, given };
}

t.test("what of a request is hashed, as Envoy hashes it", async (t) => {
  const cases: [HashSource, readonly string[], string, Hash64 | undefined][] = [
    [header("x-user"), ["X-User", "foo"], "/", xxHash64("foo")],
    [header("x-user"), ["x-user", ""], "/", xxHash64("")],
    [header("x-user"), ["x-other", "foo"], "/", undefined],
    [header("x-user"), ["x-user", "bar", "X-USER", "foo"], "/", xxHash64("foo", xxHash64("bar"))],
    [header("x-user"), ["x-user", "foo", "x-user", "bar"], "/", xxHash64("foo", xxHash64("bar"))],
    [query("q"), [], "/a?p=1&q=foo&q=bar", xxHash64("foo")],
    [query("q"), [], "/a?q=%C3%A9", xxHash64("\xc3\xa9")],
    [query("q"), [], "/a?p=q", undefined],
    [cookie("s"), ["Cookie", "a=1; s=foo; t=s"], "/", xxHash64("foo")],
    [cookie("s"), ["cookie", "ss=1; s=", "cookie", 's="bar"'], "/", xxHash64("bar")],
    [cookie("s"), ["cookie", "S=foo"], "/", undefined],
  ];
  for (const [source, headers, target, expected] of cases) {
    t.same(
      send([part(source)], headers, target).key,
      expected,
      `${JSON.stringify(source)} of ${headers.join()} ${target}`,
    );
  }
});

t.test("parts are combined in order; a terminal one ends the search once there is a key", async (t) => {
  const [a, b] = [part(header("a")), part(header("b"))];
  const both = send([a, b], ["a", "foo", "b", "foo"]).key;
  t.notSame(both, { hi: 0, lo: 0 }, "equal parts do not cancel each other out");
  t.notSame(send([a, b], ["a", "foo", "b", "bar"]).key, send([b, a], ["a", "foo", "b", "bar"]).key);
  t.same(send([a, b], ["b", "foo"]).key, xxHash64("foo"), "what is missing is passed over");
  const first = part(header("a"), true);
  t.same(send([first, b], ["a", "foo", "b", "bar"]).key, xxHash64("foo"));
  t.same(send([first, b], ["b", "bar"]).key, xxHash64("bar"), "the others stand in for it");
  t.equal(send([a, b]).key, undefined);
});

t.test("a client without the cookie is given one that leads where its first request went", async (t) => {
  const parts = [part(cookie("session", 3_600_000, "/shop"))];
  const first = send(parts);
  t.match(first.given, [/^session=[0-9a-f]{16}; Max-Age=3600; Path=\/shop; HttpOnly$/]);
  const pair = first.given[0]?.split(";")[0] ?? "";
  const second = send(parts, ["cookie", `theme=dark; ${pair}`]);
  t.same(second.key, first.key);
  t.same(second.given, [], "it keeps the one it has");
  t.match(
    send([part(cookie("session", 0))]).given,
    [/^session=\w+; Path=\/; HttpOnly$/],
    "0: for the session",
  );
  t.same(send([part(cookie("session"))]), { key: undefined, given: [] }, "none without a lifetime");
  t.same(
    send([part(header("x-user"), true), part(cookie("session", 1000))], ["x-user", "ann"]).given,
    [],
    "nor where something else has decided",
  );
  t.equal(cookieValue(["cookie", " a = 1;b=2;"], "b"), "2");
});

t.test("the caller on whose behalf a request is made: identity and address", async (t) => {
  const inbound = (peerId: string | undefined, remoteAddress: string, trace: string) =>
    new RequestContext(
      scriptedRequest({ headers: ["traceparent", `00-${trace}-00f067aa0ba902b7-01`] }).head,
      null,
      0,
      remoteAddress,
      peerId,
    );
  const [one, two, nobody] = ["1", "2", "3"].map((digit) => digit.repeat(32)) as [string, string, string];
  const memory = new RequestMemory();
  const keyOf = (source: HashSource, trace: string): Hash64 | undefined => {
    const request = scriptedRequest({ headers: ["traceparent", `00-${trace}-00f067aa0ba902b8-01`] });
    const upstream = new ScriptedService((attempt) => attempt.respond(200));
    const layers = hashPolicy([part(source)], { random: seeded(4) }, own)(upstream);
    recallOrigin(memory)(layers).call(request, new RecordedReply());
    return request.balanceKey;
  };
  const identity: HashSource = { type: "sourceIdentity" };
  const address: HashSource = { type: "sourceIP" };
  t.same(keyOf(identity, one), xxHash64(own), "on its own account");
  t.same(keyOf(address, one), undefined, "a loopback address says nothing");

  const first = memory.remember(inbound(shop, "10.0.0.7:1234", one));
  memory.remember(inbound(admin, "::1:1234", two));
  t.same(keyOf(identity, one), xxHash64(shop ?? ""));
  t.same(keyOf(identity, two), xxHash64(admin ?? ""));
  t.same(keyOf(address, one), xxHash64("10.0.0.7"), "without the port");
  t.same(keyOf(address, two), xxHash64("::1"));
  t.same(keyOf(identity, nobody), xxHash64(own), "a trace that nobody came with");

  // The same trace once more.
  const again = memory.remember(inbound(shop, "10.0.0.7:1235", one));
  t.same(keyOf(address, one), xxHash64("10.0.0.7"), "a repetition by the same caller");
  const other = memory.remember(inbound(admin, "10.0.0.8:1", one));
  t.same(keyOf(identity, one), xxHash64(own), "callers that differ are nobody in particular");
  t.same(keyOf(address, one), undefined);
  other.forget();
  again.forget();
  t.same(keyOf(identity, one), xxHash64(shop ?? ""));
  first.forget();
  t.same(keyOf(identity, one), xxHash64(own), "the inbound request has ended");

  memory.remember(inbound(undefined, "10.0.0.9:1", one));
  t.same(keyOf(identity, one), xxHash64(own), "a caller without a certificate has no identity");
  t.same(keyOf(address, one), xxHash64("10.0.0.9"));
});
