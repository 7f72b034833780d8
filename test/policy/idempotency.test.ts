import { setImmediate as turn } from "node:timers/promises";
import fc from "fast-check";
import t from "tap";
import { maxOrphanMs } from "../../src/config/idempotency-defaults.js";
import type { IdempotencyConfig } from "../../src/config/idempotency-config.js";
import type { ErrorCode } from "../../src/errors/error-table.js";
import { ProxyError } from "../../src/errors/proxy-error.js";
import { idempotency, type IdempotencyMeters } from "../../src/policy/idempotency.js";
import { entryId, readIdempotencyKey } from "../../src/policy/idempotency-key.js";
import { MemoryStore } from "../../src/policy/idempotency-memory.js";
import type { Found, IdempotencyStore } from "../../src/policy/idempotency-store.js";
import { BodyDigest, operationOf } from "../../src/policy/request-fingerprint.js";
import { decodeStoredReply, encodeStoredReply } from "../../src/policy/stored-reply.js";
import { RequestContext } from "../../src/stack/request-context.js";
import type { Call } from "../../src/stack/service.js";
import { Counter } from "../../src/telemetry/cells.js";
import { TimerWheel } from "../../src/time/timer-wheel.js";
import { BufferedBody, type BodySource } from "../../src/traffic/body.js";
import { getHeader } from "../../src/traffic/headers.js";
import { FakeClock } from "../support/fake-clock.js";
import { ScriptedSink, ScriptedSource } from "../support/scripted-body.js";
import { RecordedReply, ScriptedService, type ScriptedAttempt } from "../support/scripted-service.js";

const ttlMs = 60_000;
const maxBodyBytes = 16;
const config: IdempotencyConfig = {
  name: "service api.default",
  source: "TrafficPolicy/default/api",
  methods: ["POST"],
  ttlMs,
  isRequired: false,
  maxBodyBytes,
  maxRequestBytes: 8,
  maxEntries: 100,
  maxStoreBytes: 100_000,
  store: "memory",
  onUnavailable: "local",
};
const gone = new ProxyError("client_gone", "test");

interface Sent {
  readonly request: RequestContext;
  readonly reply: RecordedReply;
  readonly call: Call;
  /** The response body as a client reads it. */
  readonly sink: ScriptedSink;
}

interface Wanted {
  readonly key?: string;
  readonly method?: string;
  readonly target?: string;
  readonly body?: BodySource | string | null;
  readonly headers?: readonly string[];
  readonly caller?: string;
}

function bench(change: Partial<IdempotencyConfig> = {}, store?: IdempotencyStore) {
  const clock = new FakeClock();
  const wheel = new TimerWheel(clock);
  const upstream = new ScriptedService();
  const evictions = new Counter();
  const all = { ...config, ...change };
  const limits = { ttlMs: all.ttlMs, maxEntries: all.maxEntries, maxBytes: all.maxStoreBytes };
  const memory = new MemoryStore({ ...limits, maxExecutions: 50 }, evictions, clock);
  const meters: IdempotencyMeters = {
    executed: new Counter(),
    freed: new Counter(),
    replayed: new Counter(),
    conflicts: new Counter(),
    mismatches: new Counter(),
    notKept: new Counter(),
    invalid: new Counter(),
    refused: new Counter(),
  };
  const options = { config: all, service: "spiffe://mesh.local/ns/default/svc/api", meters, wheel, clock };
  const service = idempotency({ ...options, store: store ?? memory })(upstream);
  const send = (wanted: Wanted = {}): Sent => {
    const { key = "k", method = "POST", target = "/orders", body = "hello", headers = [] } = wanted;
    const keyed = key === "" ? [] : ["Idempotency-Key", key];
    const head = { method, target, authority: "api", version: "1.1" as const, upgrade: "" };
    const source = typeof body === "string" ? new BufferedBody(Buffer.from(body)) : body;
    const request = new RequestContext(
      { ...head, headers: ["host", "api", ...keyed, ...headers] },
      source,
      clock.monotonicMs(),
      "127.0.0.1:1",
      wanted.caller ?? "spiffe://mesh.local/ns/default/svc/web",
    );
    const sink = new ScriptedSink();
    const reply = new ReadReply(sink);
    return { request, reply, call: service.call(request, reply), sink };
  };
  const counted = () =>
    Object.fromEntries(
      Object.entries(meters)
        .map(([name, { value }]) => [name, value] as const)
        .filter(([, value]) => value > 0),
    );
  return { clock, wheel, upstream, memory, evictions, send, counted };
}

/** Reads the body at once, as a server connection does. */
class ReadReply extends RecordedReply {
  readonly #sink: ScriptedSink;

  constructor(sink: ScriptedSink) {
    super();
    this.#sink = sink;
  }

  override head(...[head, body]: Parameters<RecordedReply["head"]>): void {
    super.head(head, body);
    body?.attach(this.#sink);
  }
}

/** The application reads the request to its end. */
function read({ body }: ScriptedAttempt): string {
  const sink = new ScriptedSink();
  body?.attach(sink);
  return sink.bytes.toString();
}

function respond(attempt: ScriptedAttempt, status = 201, text = "made"): void {
  read(attempt);
  attempt.head(status, ["content-type", "text/plain", "x-order", "7"], new BufferedBody(Buffer.from(text)));
  attempt.end();
}

t.test("the key: what is accepted, and what is refused", async (t) => {
  const rows: readonly (readonly [readonly string[], string])[] = [
    [[], "absent"],
    [["idempotency-key", '"8e03978e-40d5"'], "key 8e03978e-40d5"],
    [["Idempotency-Key", "8e03978e-40d5"], "key 8e03978e-40d5"],
    [["idempotency-key", '"a \\"b\\" \\\\"'], 'key a "b" \\'],
    [["idempotency-key", "x".repeat(255)], `key ${"x".repeat(255)}`],
    [["idempotency-key", "x".repeat(256)], "invalid"],
    [["idempotency-key", `"${"x".repeat(256)}"`], "invalid"],
    [["idempotency-key", ""], "invalid"],
    [["idempotency-key", '""'], "invalid"],
    [["idempotency-key", '"open'], "invalid"],
    [["idempotency-key", '"a"b'], "invalid"],
    [["idempotency-key", '"a";p=1'], "invalid"],
    [["idempotency-key", '"\\x"'], "invalid"],
    [["idempotency-key", "a, b"], "invalid"],
    [["idempotency-key", "a,b"], "invalid"],
    [["idempotency-key", "a b"], "invalid"],
    [["idempotency-key", "sch\u00e4n"], "invalid"],
    [["idempotency-key", '"sch\u00e4n"'], "invalid"],
    [["idempotency-key", "a", "idempotency-key", "a"], "invalid"],
  ];
  for (const [headers, expected] of rows) {
    const reading = readIdempotencyKey(headers);
    t.equal(reading.type === "key" ? `key ${reading.key}` : reading.type, expected, headers.join(" "));
  }
});

t.test("the key: every string of visible ASCII and spaces is one key, quoted or not", async () => {
  const ascii = fc.string({ unit: fc.integer({ min: 0x20, max: 0x7e }).map((c) => String.fromCharCode(c)) });
  fc.assert(
    fc.property(ascii, (key) => {
      const reading = readIdempotencyKey(["idempotency-key", `"${key.replace(/[\\"]/g, "\\$&")}"`]);
      if (key.length < 1 || key.length > 255) return reading.type === "invalid";
      return reading.type === "key" && reading.key === key;
    }),
  );
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), (value) => {
      const reading = readIdempotencyKey(["idempotency-key", value]);
      return (
        reading.type === "invalid" || (reading.type === "key" && /^[\x20-\x7e]{1,255}$/.test(reading.key))
      );
    }),
  );
});

t.test("the scope: other services, policies and callers have other keys", async (t) => {
  const scope = {
    service: "spiffe://m/ns/d/svc/api",
    name: "service api.default",
    caller: "spiffe://m/ns/d/svc/web",
  };
  const ids = [
    entryId(scope, "k"),
    entryId({ ...scope, service: "spiffe://m/ns/d/svc/other" }, "k"),
    entryId({ ...scope, name: "service other.default" }, "k"),
    entryId({ ...scope, caller: "spiffe://m/ns/d/svc/other" }, "k"),
    entryId({ ...scope, caller: undefined }, "k"),
    entryId(scope, "other"),
  ];
  t.equal(new Set(ids).size, ids.length);
  t.equal(entryId({ ...scope }, "k"), ids[0]);
  t.notMatch(ids[0], /web|api/);
});

t.test(
  "the digest of a body: its bytes however they are cut; of a long one beginning and length",
  async (t) => {
    const digest = (body: Buffer, cuts: readonly number[], length = body.length): string | undefined => {
      const made = new BodyDigest(length, 8);
      let at = 0;
      for (const cut of [...cuts, body.length]) {
        const end = Math.min(body.length, at + cut);
        if (end > at) made.add(body.subarray(at, end));
        at = end;
      }
      made.end();
      return made.value;
    };
    const bytes = fc.uint8Array({ maxLength: 20 }).map((a) => Buffer.from(a));
    fc.assert(
      fc.property(bytes, bytes, fc.array(fc.integer({ min: 1, max: 5 })), (a, b, cuts) => {
        const isSame =
          a.length <= 8 ? a.equals(b) : a.length === b.length && a.subarray(0, 8).equals(b.subarray(0, 8));
        return (digest(a, cuts) === digest(b, [])) === isSame;
      }),
    );
    const early = new BodyDigest(9, 8);
    early.add(Buffer.alloc(8));
    t.equal(early.value, undefined, "the ninth byte tells that it is longer");
    early.add(Buffer.alloc(1));
    t.type(early.value, "string");
  },
);

t.test("what is stored is read back, and nothing else is taken for it", async (t) => {
  const reply = { operation: "o", digest: "d", digestBytes: 8, status: 201, headers: ["a", "\u00ff"] };
  for (const body of [null, Buffer.alloc(0), Buffer.from([0, 255, 10])])
    t.same(decodeStoredReply(encodeStoredReply({ ...reply, body })), { ...reply, body });
  fc.assert(fc.property(fc.uint8Array(), (bytes) => decodeStoredReply(Buffer.from(bytes)) === undefined));
});

t.test("the first request is executed, later ones are answered from the store", async (t) => {
  const { upstream, send, counted, clock } = bench();
  const first = send();
  t.equal(read(upstream.last), "hello", "the application gets the body as it is");
  respond(upstream.last);
  t.equal(first.reply.outcome, "201");
  t.equal(first.sink.bytes.toString(), "made");
  t.equal(getHeader(first.reply.headers, "idempotency-replayed"), undefined);
  clock.advance(ttlMs - 1);
  for (let i = 0; i < 2; i++) {
    const again = send();
    await turn();
    t.equal(again.reply.outcome, "201");
    t.equal(again.sink.bytes.toString(), "made");
    t.same(again.reply.headers, [
      ...["content-type", "text/plain", "x-order", "7", "idempotency-replayed", "true"],
      ...["content-length", "4"],
    ]);
  }
  t.equal(upstream.attempts.length, 1);
  t.same(counted(), { executed: 1, replayed: 2 });
  clock.advance(2);
  send();
  t.equal(upstream.attempts.length, 2, "after its time it is executed again");
});

t.test("what passes untouched, and what is refused", async (t) => {
  const { upstream, send, counted } = bench();
  for (const wanted of [
    { key: "" },
    { method: "GET" },
    { headers: ["content-type", "application/grpc"] },
  ] as const) {
    for (let i = 0; i < 2; i++) {
      const { reply } = send(wanted);
      upstream.last.respond(200);
      t.equal(reply.outcome, "200");
    }
  }
  t.equal(upstream.attempts.length, 6);
  t.same(counted(), {});
  t.equal(send({ key: '"' }).reply.outcome, "idempotency_key_invalid");
  const strict = bench({ isRequired: true, methods: ["POST", "PATCH"] });
  const { reply } = strict.send({ key: "" });
  t.equal(reply.outcome, "idempotency_key_missing");
  t.equal(
    reply.error?.message,
    "Idempotency-Key is missing: POST and PATCH requests need a header Idempotency-Key, source=TrafficPolicy/default/api",
  );
  strict.send({ key: "", method: "PUT" });
  t.equal(strict.upstream.attempts.length, 1);
});

t.test("while the first is under way the others are told to come again", async (t) => {
  const { upstream, send, counted } = bench();
  const first = send();
  const second = send();
  t.equal(second.reply.outcome, "idempotency_conflict");
  t.same(second.reply.error?.headers, ["retry-after", "1"]);
  t.equal(send({ target: "/other" }).reply.outcome, "idempotency_mismatch", "another operation");
  t.equal(
    send({ caller: "spiffe://mesh.local/ns/default/svc/other" }).reply.outcome,
    "pending",
    "not its key",
  );
  t.equal(send({ key: "other" }).reply.outcome, "pending");
  t.equal(upstream.attempts.length, 3);
  respond(upstream.attempts[0] as ScriptedAttempt);
  t.equal(first.reply.outcome, "201");
  t.same(counted(), { executed: 3, conflicts: 1, mismatches: 1 });
});

t.test(
  "another request with the same key is refused, told apart before its body has come where possible",
  async (t) => {
    const { upstream, send, counted } = bench();
    send({ body: "long enough body" });
    respond(upstream.last);
    const outcome = async (wanted: Wanted): Promise<string> => {
      const { reply } = send(wanted);
      await turn();
      return reply.outcome;
    };
    t.equal(await outcome({ body: "hello" }), "idempotency_mismatch", "body");
    t.equal(await outcome({ body: null }), "idempotency_mismatch", "no body");
    t.equal(await outcome({ body: "long enough b" }), "idempotency_mismatch", "length");
    t.equal(
      await outcome({ body: "long enough BODY" }),
      "201",
      "beyond maxRequestBytes only the length counts",
    );
    const upload = new ScriptedSource(16);
    t.equal(await outcome({ target: "/orders?x=1", body: upload }), "idempotency_mismatch");
    t.equal(upload.cancelledWith, null, "the body was not asked for");
    const early = new ScriptedSource(16);
    early.arrive(Buffer.from("long enou"));
    t.equal(await outcome({ body: early }), "201", "answered before all of it is there");
    t.equal(early.cancelledWith?.code, "client_gone");
    t.same(counted(), { executed: 1, mismatches: 4, replayed: 2 });
    t.equal(upstream.attempts.length, 1);
  },
);

t.test("a client that waits for 100 is told to send what is to be compared", async (t) => {
  const { upstream, send } = bench();
  send();
  respond(upstream.last);
  const body = new ScriptedSource(5);
  const { reply } = send({ body, headers: ["expect", "100-continue"] });
  t.same(reply.informationals, [100]);
  body.arrive(Buffer.from("hello"), "end");
  await turn();
  t.equal(reply.outcome, "201");
});

t.test("which outcomes are kept", async (t) => {
  const rows: readonly (readonly [string, (attempt: ScriptedAttempt) => void, string])[] = [
    ["no body", (a) => a.respond(204), "kept"],
    ["refused by the application", (a) => respond(a, 422, "no"), "kept"],
    ["a redirect", (a) => respond(a, 303, ""), "kept"],
    ["of just the limit", (a) => respond(a, 200, "x".repeat(maxBodyBytes)), "kept"],
    ["over the limit", (a) => respond(a, 200, "x".repeat(maxBodyBytes + 1)), "not_kept"],
    ["a failure", (a) => respond(a, 500, "x"), "freed"],
    ["an answer that asks for credentials", (a) => respond(a, 401, "x"), "freed"],
    ["an answer that asks for patience", (a) => respond(a, 429, "x"), "freed"],
    ["a failure without a body", (a) => a.respond(503), "freed"],
    ["never sent", (a) => a.fail("connect_failed"), "freed"],
    ["reset", (a) => a.fail("upstream_reset"), "freed"],
    ["cut off in its body", (a) => cutOff(a, "abc"), "freed"],
    ["cut off far in its body", (a) => cutOff(a, "x".repeat(maxBodyBytes + 1)), "freed"],
    ["a local limit", (a) => a.fail("concurrency_limit"), "freed"],
  ];
  for (const [name, act, expected] of rows) {
    const { upstream, send, counted } = bench();
    send({ body: null });
    act(upstream.last);
    const again = send({ body: null });
    await turn();
    const isExecuted = upstream.attempts.length === 2;
    const isReplayed = getHeader(again.reply.headers, "idempotency-replayed") === "true";
    const found = isExecuted
      ? "freed"
      : isReplayed
        ? "kept"
        : again.reply.outcome === "idempotency_not_kept"
          ? "not_kept"
          : again.reply.outcome;
    t.equal(found, expected, name);
    t.equal(counted()["freed"] ?? 0, expected === "freed" ? 1 : 0, `${name}: counted`);
  }
});

function cutOff(attempt: ScriptedAttempt, text: string): void {
  const body = new ScriptedSource(-1);
  attempt.head(200, [], body);
  body.arrive(Buffer.from(text));
  const error = new ProxyError("upstream_truncated", "test");
  body.fail(error);
  attempt.end(error);
}

t.test("a client goes away: the execution goes on, and its result is there for the next", async (t) => {
  const { upstream, send, counted, clock } = bench();
  const first = send();
  read(upstream.last);
  first.call.cancel(gone);
  t.equal(first.reply.outcome, "client_gone", "the connection is told at once");
  t.equal(upstream.last.cancelledWith, null);
  t.equal(send().reply.outcome, "idempotency_conflict");
  clock.advance(maxOrphanMs - 1000);
  const body = new ScriptedSource(-1);
  upstream.last.head(201, [], body);
  body.arrive(Buffer.from("ma"), Buffer.from("de"), "end");
  upstream.last.end();
  const again = send();
  await turn();
  t.equal(again.reply.outcome, "201");
  t.equal(again.sink.bytes.toString(), "made");
  t.equal(upstream.attempts.length, 1);
  t.same(counted(), { executed: 1, conflicts: 1, replayed: 1 });
  clock.advance(maxOrphanMs);
  t.equal(upstream.last.cancelledWith, null, "its timer is gone");
});

t.test("a client goes away: when the execution does not go on, or not for ever", async (t) => {
  t.test("before the application has all of the request", async (t) => {
    const { upstream, send } = bench();
    const upload = new ScriptedSource(5);
    const { call, reply } = send({ body: upload });
    read(upstream.last);
    upload.arrive(Buffer.from("hel"));
    call.cancel(gone);
    t.equal(upstream.last.cancelledWith?.code, "client_gone");
    t.equal(reply.outcome, "client_gone");
    send();
    t.equal(upstream.attempts.length, 2, "the key is free");
  });
  t.test("in a response: the rest is read without a reader", async (t) => {
    const { upstream, send } = bench();
    const first = send({ body: null });
    first.sink.room = 1;
    const body = new ScriptedSource(-1);
    upstream.last.head(200, [], body);
    body.arrive(Buffer.from("one"), Buffer.from("two"), "end");
    t.ok(body.isPaused, "the client is slow");
    // As server connections do: the body first.
    first.reply.body?.cancel(gone);
    first.call.cancel(gone);
    const again = send({ body: null });
    await turn();
    t.equal(again.sink.bytes.toString(), "onetwo");
    t.equal(upstream.attempts.length, 1);
  });
  t.test("in a response that cannot be kept", async (t) => {
    const { upstream, send } = bench();
    const first = send({ body: null });
    const body = new ScriptedSource(100);
    upstream.last.head(200, [], body);
    first.reply.body?.cancel(gone);
    t.equal(body.cancelledWith?.code, "client_gone");
    first.call.cancel(gone);
    t.equal(upstream.last.cancelledWith?.code, "client_gone");
    t.equal(send({ body: null }).reply.outcome, "idempotency_not_kept", "it was executed");
    t.equal(upstream.attempts.length, 1);
  });
  t.test("by its deadline, or for a failure", async (t) => {
    for (const code of ["route_timeout", "stream_idle_timeout"] as const satisfies readonly ErrorCode[]) {
      const { upstream, send } = bench();
      const { call, reply } = send({ body: null });
      call.cancel(new ProxyError(code, "test"));
      t.equal(upstream.last.cancelledWith?.code, code);
      t.equal(reply.outcome, code);
      send({ body: null });
      t.equal(upstream.attempts.length, 2, "the key is free");
    }
    const { upstream, send } = bench();
    const { call } = send({ body: null });
    upstream.last.head(500, [], new ScriptedSource(-1));
    call.cancel(gone);
    t.equal(upstream.last.cancelledWith?.code, "client_gone");
  });
  t.test("not beyond its time", async (t) => {
    for (const deadlineMs of [Infinity, 5000]) {
      const { upstream, send, clock } = bench();
      const { call, request } = send({ body: null });
      request.deadlineMs = deadlineMs;
      call.cancel(gone);
      const leftMs = Math.min(deadlineMs, maxOrphanMs);
      clock.advance(leftMs - 1);
      t.equal(upstream.last.cancelledWith, null);
      clock.advance(30);
      t.equal(upstream.last.cancelledWith?.code, "client_gone");
      send({ body: null });
      t.equal(upstream.attempts.length, 2, "the key is free");
    }
  });
  t.test("while its body is compared", async (t) => {
    const { upstream, send } = bench();
    send();
    respond(upstream.last);
    const upload = new ScriptedSource(5);
    const again = send({ body: upload });
    upload.arrive(Buffer.from("he"));
    again.call.cancel(gone);
    t.equal(again.reply.outcome, "client_gone");
    t.equal(upload.cancelledWith, gone);
    upload.arrive(Buffer.from("llo"), "end");
    await turn();
    t.equal(again.reply.ends, 1);
  });
});

t.test("a store that answers later: the client may be gone by then", async (t) => {
  const answers: ((found: Found) => void)[] = [];
  const { upstream, send, counted } = bench({}, { claim: (_, __, answer) => void answers.push(answer) });
  let freed = 0;
  const claim = { keep: () => undefined, free: () => void freed++ };
  const first = send();
  first.call.cancel(gone);
  t.equal(first.reply.outcome, "client_gone");
  answers[0]?.({ state: "claimed", claim });
  t.equal(freed, 1, "nobody executes: the claim is given back");
  t.equal(upstream.attempts.length, 0);
  const second = send();
  answers[1]?.({ state: "claimed", claim });
  respond(upstream.last);
  t.equal(second.reply.outcome, "201");
  const third = send();
  answers[2]?.({ state: "unavailable", reason: "no answer" });
  t.equal(third.reply.outcome, "idempotency_store_unavailable");
  const fourth = send();
  answers[3]?.({ state: "done", reply: Buffer.from("nonsense") });
  t.equal(fourth.reply.outcome, "idempotency_store_unavailable");
  t.same(counted(), { executed: 1, refused: 2 });
});

t.test(
  "memory store: bounded in entries, bytes and executions, without losing what is under way",
  async (t) => {
    const clock = new FakeClock();
    const evictions = new Counter();
    const limits = { ttlMs: 1000, maxEntries: 3, maxBytes: 10_000, maxExecutions: 4 };
    const store = new MemoryStore(limits, evictions, clock);
    const claim = (id: string): Found => {
      let answer: Found | undefined;
      store.claim(id, "op", (found) => (answer = found));
      return answer as Found;
    };
    const keep = (id: string, bytes = 1): void => {
      const found = claim(id);
      if (found.state !== "claimed") throw new Error(`${id}: ${found.state}`);
      found.claim.keep(Buffer.alloc(bytes));
      found.claim.free();
    };
    for (const id of ["a", "b", "c"]) keep(id);
    t.equal(claim("a").state, "done", "used: now the youngest");
    keep("d");
    t.equal(store.entries, 3);
    t.same(
      ["a", "c", "d"].map((id) => claim(id).state),
      ["done", "done", "done"],
    );
    t.equal(evictions.value, 1);
    const running = ["b", "e", "f", "g"].map((id) => claim(id));
    t.same(
      running.map(({ state }) => state),
      ["claimed", "claimed", "claimed", "claimed"],
    );
    t.same(claim("h"), { state: "full", limit: 4 });
    t.same(claim("e"), { state: "running", operation: "op" });
    t.equal(store.executions, 4);
    for (const found of running) if (found.state === "claimed") found.claim.free();
    t.equal(store.executions, 0);
    keep("big", 9_500);
    t.equal(store.entries, 1, "bytes count, too");
    t.ok(store.bytes <= 10_000);
    store.configure({ ...limits, maxBytes: 100 });
    t.equal(store.entries, 0);
    t.equal(store.bytes, 0);
    store.configure(limits);
    keep("x");
    clock.advance(999);
    t.equal(claim("x").state, "done");
    clock.advance(1);
    t.equal(claim("x").state, "claimed", "its time is over");
    keep("y");
    clock.advance(120_000);
    t.equal(store.entries, 0, "an idle store gives its memory back");
    t.equal(clock.pendingTimers, 0);
    store.close();
    keep("z");
    t.equal(store.entries, 0, "a closed one keeps nothing");
  },
);

type Command =
  | { readonly do: "send"; readonly key: string; readonly body: string }
  | { readonly do: "upload" | "leave"; readonly request: number }
  | { readonly do: "head"; readonly execution: number; readonly status: number; readonly hasBody: boolean }
  | { readonly do: "body"; readonly execution: number; readonly text: string }
  | { readonly do: "end" | "fail"; readonly execution: number }
  | { readonly do: "wait"; readonly ms: number };

const index = fc.nat(1000);

/** Of those that there are, the younger ones more often than not. */
function pick<T>(list: readonly T[], chance: number): T | undefined {
  return chance % 3 === 0
    ? list[chance % list.length]
    : list[list.length - 1 - (chance % Math.min(2, list.length))];
}
const command: fc.Arbitrary<Command> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant("send" as const),
      key: fc.constantFrom("a", "b"),
      body: fc.constantFrom("one", "two"),
    }),
  },
  { weight: 4, arbitrary: fc.record({ do: fc.constant("upload" as const), request: index }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("leave" as const), request: index }) },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant("head" as const),
      execution: index,
      status: fc.constantFrom(200, 201, 404, 500),
      hasBody: fc.boolean(),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant("body" as const),
      execution: index,
      text: fc.constantFrom("", "ok", "x".repeat(maxBodyBytes + 1)),
    }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("end" as const), execution: index }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("fail" as const), execution: index }) },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant("wait" as const), ms: fc.constantFrom(1, 1000, maxOrphanMs) }),
  },
);

/** One execution as the application sees it. */
interface Execution {
  readonly attempt: ScriptedAttempt;
  readonly key: string;
  /** The request's body, and whether all of it has come. */
  readonly sink: ScriptedSink;
  /** It was answered when all of its body had come: others are compared with it. */
  isCompared: boolean;
  status: number;
  body: ScriptedSource | null;
  response: string;
  isBodyDone: boolean;
}

t.test(
  "any order of events: one execution at a time, one that is kept, and all replays are its response",
  async (t) => {
    let executed = 0;
    let replayed = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(command, { minLength: 20, maxLength: 80, size: "max" }), async (commands) => {
        const { clock, upstream, send, memory } = bench({ ttlMs: 1e9 });
        const sent: (Sent & {
          readonly key: string;
          readonly text: string;
          readonly upload: ScriptedSource;
        })[] = [];
        const executions: Execution[] = [];
        /** Key: the idempotency key. */
        const kept = new Map<string, Execution>();
        const open = (e: Execution): boolean => !e.attempt.isEnded;
        const uploaded = new Set<object>();
        const complete = (each: (typeof sent)[number] | undefined): void => {
          if (each === undefined || uploaded.has(each)) return;
          uploaded.add(each);
          each.upload.arrive(Buffer.from(each.text.slice(1)), "end");
        };
        const look = (): void => {
          for (const attempt of upstream.attempts.slice(executions.length)) {
            const key = getHeader(attempt.request.head.headers, "idempotency-key") ?? "";
            if (kept.has(key)) throw new Error(`${key} is executed after a response was kept`);
            if (executions.some((e) => e.key === key && open(e)))
              throw new Error(`${key} is executed twice at once`);
            const sink = new ScriptedSink();
            attempt.body?.attach(sink);
            executions.push({
              attempt,
              key,
              sink,
              isCompared: true,
              status: 0,
              body: null,
              response: "",
              isBodyDone: false,
            });
          }
        };
        const done = (e: Execution): void => {
          e.isCompared = e.sink.isEnded;
          if (e.status < 500 && e.isBodyDone && !e.attempt.isEnded) kept.set(e.key, e);
        };
        for (const c of commands) {
          switch (c.do) {
            case "send": {
              const upload = new ScriptedSource(-1);
              upload.arrive(Buffer.from(c.body.slice(0, 1)));
              sent.push({ ...send({ key: c.key, body: upload }), key: c.key, text: c.body, upload });
              break;
            }
            case "upload":
              complete(pick(sent, c.request));
              break;
            case "leave": {
              const each = pick(sent, c.request);
              if (each === undefined || each.reply.ends > 0) break;
              each.reply.body?.cancel(gone);
              each.call.cancel(gone);
              break;
            }
            case "head": {
              const e = pick(executions, c.execution);
              if (e === undefined || !open(e) || e.status !== 0) break;
              e.status = c.status;
              e.body = c.hasBody ? new ScriptedSource(-1, null) : null;
              e.isBodyDone = !c.hasBody;
              done(e);
              e.attempt.head(c.status, ["x-execution", `${executions.indexOf(e)}`], e.body);
              break;
            }
            case "body": {
              const e = pick(executions, c.execution);
              if (e === undefined || !open(e) || e.body === null || e.isBodyDone) break;
              e.response = c.text;
              e.isBodyDone = true;
              if (e.body.cancelledWith === null) done(e);
              e.body.arrive(Buffer.from(c.text), "end");
              break;
            }
            case "end": {
              const e = pick(executions, c.execution);
              if (e !== undefined && open(e) && e.status !== 0 && e.isBodyDone) e.attempt.end();
              break;
            }
            case "fail": {
              const e = pick(executions, c.execution);
              // A response whose body is complete does not fail any more.
              if (e === undefined || !open(e) || e.isBodyDone) break;
              const error = new ProxyError("upstream_reset", "test");
              e.body?.fail(error);
              if (open(e)) e.attempt.end(error);
              break;
            }
            case "wait":
              clock.advance(c.ms);
          }
          await turn();
          look();
        }
        for (const each of sent) {
          if (getHeader(each.reply.headers, "idempotency-replayed") !== "true") continue;
          replayed++;
          const e = kept.get(each.key);
          const isSame =
            e !== undefined && each.reply.status === e.status && each.sink.bytes.toString() === e.response;
          if (!isSame || (e.isCompared && e.sink.bytes.toString() !== each.text))
            throw new Error(`${each.key}: replayed something else`);
          if (getHeader(each.reply.headers, "x-execution") !== `${executions.indexOf(e)}`)
            throw new Error("headers");
        }
        executed += executions.length;
        // What is still open ends, and with it every request, exactly once (RecordedReply watches).
        for (const e of executions) if (open(e)) e.attempt.end(new ProxyError("upstream_reset", "test"));
        for (const each of sent) complete(each);
        await turn();
        look();
        for (const e of executions) if (open(e)) e.attempt.end(new ProxyError("upstream_reset", "test"));
        for (const each of sent) if (each.reply.ends !== 1) throw new Error(`${each.reply.ends} ends`);
        if (memory.executions > 0) throw new Error(`${memory.executions} claims are left`);
      }),
      { numRuns: 200 },
    );
    t.comment(`${executed} executions, ${replayed} replays`);
    t.ok(executed > 300);
    t.ok(replayed > 50);
  },
);

t.test("the operation is method, path and query", async (t) => {
  const at = (method: string, target: string): string => operationOf({ method, target });
  t.equal(at("POST", "/a?b=1"), at("POST", "/a?b=1"));
  t.equal(new Set([at("POST", "/a"), at("PATCH", "/a"), at("POST", "/a?b"), at("POST", "/b")]).size, 4);
});
