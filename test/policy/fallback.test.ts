/** What answers in place of a failure: which failures, with what, and for whom. */
import fc from "fast-check";
import t from "tap";
import { fallbackCauses, type FallbackCause } from "../../src/config/fallback-config.js";
import { defaultFallbackCauses, replyCacheDefaults } from "../../src/config/cluster-defaults.js";
import { errorTable, type ErrorCode } from "../../src/errors/error-table.js";
import { ProxyError } from "../../src/errors/proxy-error.js";
import {
  failureOfError,
  failureOfHead,
  mayBeSentElsewhere,
  type Failure,
} from "../../src/policy/fallback-cause.js";
import { fallback, type FallbackAnswer } from "../../src/policy/fallback.js";
import { ReplyCache } from "../../src/policy/reply-cache.js";
import { PolicyMetrics } from "../../src/telemetry/policy-metrics.js";
import { Metrics } from "../../src/telemetry/metrics.js";
import { BufferedBody } from "../../src/traffic/body.js";
import { getHeader } from "../../src/traffic/headers.js";
import { endpointConfig } from "../support/scripted-endpoint.js";
import { FakeClock } from "../support/fake-clock.js";
import { ScriptedSink, ScriptedSource, scriptedError } from "../support/scripted-body.js";
import { RecordedReply, ScriptedService, scriptedRequest, type Step } from "../support/scripted-service.js";

const grpc = ["content-type", "application/grpc"];

t.test(
  "each error has the cause that documents know it by; what the caller brought about has none",
  async (t) => {
    const expected: Partial<Record<ErrorCode, FallbackCause>> = {
      connect_failed: "connect-failure",
      connect_timeout: "connect-failure",
      upstream_tls_failed: "connect-failure",
      upstream_identity_mismatch: "connect-failure",
      upstream_reset: "5xx",
      upstream_closed: "5xx",
      concurrency_limit: "5xx",
      no_healthy_endpoint: "no-endpoint",
      plaintext_refused: "no-endpoint",
      no_backend: "no-endpoint",
      attempt_timeout: "timeout",
      route_timeout: "timeout",
      stream_idle_timeout: "timeout",
    };
    for (const [code, cause] of Object.entries(expected))
      t.equal(failureOfError(code as ErrorCode)?.cause, cause, code);
    for (const [code, row] of Object.entries(errorTable)) {
      if (row.side !== "downstream" || row.status === 429) continue;
      t.equal(failureOfError(code as ErrorCode), undefined, code);
    }
  },
);

t.test(
  "a response is a failure by its status, of gRPC by its own, and by what a sidecar says of it",
  async (t) => {
    const told = (code: string): string[] => ["x-remora-error", code];
    const cases: readonly [number, string[], boolean, boolean, string | undefined][] = [
      [200, [], false, true, undefined],
      [404, [], false, true, undefined],
      [429, [], false, true, "rate-limited"],
      [500, [], false, true, "5xx"],
      [504, [], false, true, "timeout"],
      [503, told("no_healthy_endpoint"), false, true, "no-endpoint"],
      // Anybody may write that field; only a sidecar is believed.
      [503, told("no_healthy_endpoint"), false, false, "5xx"],
      [503, told("never_heard_of"), false, true, "5xx"],
      [200, ["grpc-status", "0"], true, true, undefined],
      [200, [], true, true, undefined],
      [200, ["grpc-status", "5"], true, true, undefined],
      [200, ["grpc-status", "14"], true, true, "5xx"],
      [200, ["grpc-status", "4"], true, true, "timeout"],
      [200, ["grpc-status", "8"], true, true, "rate-limited"],
      [200, ["grpc-status", "14", ...told("connect_failed")], true, true, "connect-failure"],
      [200, ["grpc-status", "14"], false, true, undefined],
      [503, [], true, true, "5xx"],
    ];
    for (const [status, headers, isGrpc, isTrusted, cause] of cases) {
      const found = failureOfHead({ status, reason: "", version: "1.1", headers }, isGrpc, isTrusted);
      t.equal(found?.cause, cause, `${status} ${headers.join(" ")} ${isGrpc} ${isTrusted}`);
    }
  },
);

t.test("another service gets what is idempotent, and what nobody can have worked on", async (t) => {
  const reset = failureOfError("upstream_reset") as Failure;
  const refused = failureOfError("connect_failed") as Failure;
  const full = failureOfError("concurrency_limit") as Failure;
  const status: Failure = { cause: "5xx", what: "503", code: undefined };
  const cases: readonly [Failure, string, number, boolean, boolean][] = [
    [reset, "GET", 1, false, true],
    [reset, "PUT", 1, false, true],
    [reset, "POST", 1, false, false],
    [refused, "POST", 1, false, true],
    [refused, "POST", 2, false, true],
    [full, "POST", 0, false, true],
    [full, "POST", 1, false, true],
    [status, "POST", 1, false, false],
    [status, "GET", 3, false, true],
    [failureOfError("queue_timeout") as Failure, "POST", 0, false, true],
    // The first of the two attempts may have been worked on.
    [refused, "POST", 2, true, false],
    [refused, "GET", 2, true, true],
  ];
  for (const [failure, method, attempts, wasSeen, expected] of cases)
    t.equal(
      mayBeSentElsewhere(failure, method, attempts, wasSeen),
      expected,
      `${failure.what} ${method} ${attempts} ${wasSeen}`,
    );
});

function setup(
  answer: FallbackAnswer,
  steps: readonly Step[],
  on: readonly FallbackCause[] = defaultFallbackCauses,
) {
  const clock = new FakeClock();
  const metrics = new Metrics();
  const kind = answer.type;
  const meters = new PolicyMetrics(metrics).fallback("TrafficPolicy/default/api", kind, fallbackCauses);
  const upstream = new ScriptedService(...steps);
  const service = fallback({ on: new Set(on), answer, clock, meters })(upstream);
  const send = (options: Parameters<typeof scriptedRequest>[0] = {}) => {
    const request = scriptedRequest(options);
    const reply = new RecordedReply();
    const call = service.call(request, reply);
    return { request, reply, call };
  };
  const answered = (): number => fallbackCauses.reduce((sum, cause) => sum + meters.answered[cause].value, 0);
  return { clock, upstream, send, meters, answered };
}

/** As the cluster would: notes the endpoint, then does what the step says. */
const at =
  (step: Step): Step =>
  (attempt) => {
    attempt.request.attemptAt({ key: "a", config: endpointConfig(0) });
    step(attempt);
  };
const fails = (code: ErrorCode): Step => at((attempt) => attempt.fail(code));
const responds = (status: number, headers: string[] = []): Step =>
  at((attempt) => attempt.respond(status, headers));

const later: FallbackAnswer = {
  type: "reply",
  reply: {
    http: { status: 202, headers: [["retry-after", "30"]], body: "Payment is delayed, try again later" },
    grpc: { status: 14, message: "delayed: 100 %" },
  },
};

t.test("a fixed answer, marked, with the error that it stands for", async (t) => {
  const { send, meters, answered } = setup(later, [fails("connect_failed"), responds(503), responds(404)]);
  const { request, reply } = send({ method: "POST" });
  t.equal(reply.outcome, "202");
  t.equal(getHeader(reply.headers, "x-remora-fallback"), "reply");
  t.equal(getHeader(reply.headers, "x-remora-error"), "connect_failed");
  t.equal(getHeader(reply.headers, "retry-after"), "30");
  t.equal(getHeader(reply.headers, "content-type"), "text/plain; charset=utf-8");
  const sink = new ScriptedSink();
  reply.body?.attach(sink);
  t.equal(sink.bytes.toString(), "Payment is delayed, try again later");
  t.equal(getHeader(reply.headers, "content-length"), `${sink.bytes.length}`);
  t.equal(request.details, "fallback_reply{connect_failed}");
  t.equal(request.flag, "UF");
  t.equal(request.error, null);
  t.equal(meters.answered["connect-failure"].value, 1);

  const second = send();
  t.equal(second.reply.outcome, "202");
  t.equal(getHeader(second.reply.headers, "x-remora-error"), undefined, "the application's own 503");
  t.equal(second.request.details, "fallback_reply{503}");
  t.equal(answered(), 2);

  t.equal(send().reply.outcome, "404", "no failure");
  t.equal(answered(), 2);
});

t.test("a gRPC call ends with the status of the answer, and keeps its own when there is none", async (t) => {
  const { send } = setup(later, [responds(200, ["grpc-status", "14"])]);
  const { reply } = send({ method: "POST", headers: grpc });
  t.equal(reply.outcome, "200");
  t.equal(getHeader(reply.headers, "grpc-status"), "14");
  t.equal(getHeader(reply.headers, "grpc-message"), "delayed: 100 %25");
  t.equal(getHeader(reply.headers, "x-remora-fallback"), "reply");
  t.equal(reply.body, null);

  const httpOnly: FallbackAnswer = {
    type: "reply",
    reply: { http: { status: 200, headers: [], body: "" } },
  };
  const plain = setup(httpOnly, [responds(200, ["grpc-status", "14"])]);
  const kept = plain.send({ method: "POST", headers: grpc });
  t.equal(getHeader(kept.reply.headers, "x-remora-fallback"), undefined);
  t.equal(plain.meters.missed.value, 1);
});

t.test("what is not named stays; a tunnel has no fallback; nothing happens after the head", async (t) => {
  const { send } = setup(later, [fails("upstream_reset"), at((attempt) => attempt.head(200))], ["timeout"]);
  t.equal(send().reply.outcome, "upstream_reset");
  const { reply, call } = send();
  call.cancel(new ProxyError("client_gone", "scripted"));
  t.equal(reply.outcome, "200 client_gone");
  const tunnel = setup(later, [fails("connect_failed")]);
  const request = scriptedRequest();
  request.head.upgrade = "websocket";
  const seen = new RecordedReply();
  const upstream = new ScriptedService(fails("connect_failed"));
  fallback({ on: new Set(fallbackCauses), answer: later, clock: tunnel.clock, meters: tunnel.meters })(
    upstream,
  ).call(request, seen);
  t.equal(seen.outcome, "connect_failed");
});

t.test("another service answers with the request as it came, its body included", async (t) => {
  const other = new ScriptedService();
  const changesHead: Step = at((attempt) => {
    attempt.request.head.headers.push("x-for-primary", "1");
    attempt.body?.attach(primary);
  });
  const primary = new ScriptedSink();
  const { send, upstream } = setup({ type: "service", service: other, maxReplayBytes: 100 }, [changesHead]);
  const body = new ScriptedSource();
  const { request, reply } = send({ method: "PUT", body });
  body.arrive(Buffer.from("he"), Buffer.from("llo"));
  upstream.last.fail("upstream_reset");
  t.equal(reply.outcome, "pending");
  const asked = other.last;
  t.equal(getHeader(asked.request.head.headers, "x-for-primary"), undefined);
  const sink = new ScriptedSink();
  asked.body?.attach(sink);
  body.arrive(Buffer.from("!"), "end");
  t.equal(sink.bytes.toString(), "hello!");
  t.same(sink.trailers, ["x-checksum", "1"]);
  asked.request.clusterName = "spare.default";
  asked.respond(200);
  t.equal(reply.outcome, "200");
  t.equal(getHeader(reply.headers, "x-remora-fallback"), "service");
  t.equal(getHeader(reply.headers, "x-remora-error"), "upstream_reset");
  t.equal(request.clusterName, "spare.default", "who answered is who is logged");
  t.equal(request.details, "fallback_service{upstream_reset}");
});

t.test("a POST that may have been processed, and a body that is too long, go nowhere else", async (t) => {
  const other = new ScriptedService((attempt) => attempt.respond(200));
  const answer: FallbackAnswer = { type: "service", service: other, maxReplayBytes: 4 };
  const reads: Step = at((attempt) => attempt.body?.attach(new ScriptedSink()));
  const { send, meters, upstream } = setup(answer, [fails("upstream_reset"), reads, fails("connect_failed")]);
  t.equal(send({ method: "POST" }).reply.outcome, "upstream_reset");
  const body = new ScriptedSource();
  const long = send({ method: "PUT", body });
  body.arrive(Buffer.from("hello"));
  upstream.last.fail("upstream_reset");
  t.equal(long.reply.outcome, "upstream_reset");
  t.equal(meters.missed.value, 2);
  t.equal(send({ method: "POST" }).reply.outcome, "200", "refused connections were never seen");
  t.equal(other.attempts.length, 1);
});

t.test("what attempts before the last have done decides, too", (t) => {
  const other = new ScriptedService((attempt) => attempt.respond(200));
  const answer: FallbackAnswer = { type: "service", service: other, maxReplayBytes: 4 };
  const retried = (seen: number): Step =>
    at((attempt) => {
      attempt.request.attempts = 2;
      attempt.request.attempt += seen;
      attempt.fail("connect_failed");
    });
  const { send, meters } = setup(answer, [retried(0), retried(1)]);
  const grpc = { method: "POST", headers: ["content-type", "application/grpc"] };
  t.equal(send(grpc).reply.outcome, "200", "two refused connections");
  t.equal(send(grpc).reply.outcome, "connect_failed", "the first may have been worked on");
  t.equal(meters.missed.value, 1);
  t.end();
});

t.test("the other service's own failure is told; a caller that leaves cancels it", async (t) => {
  const other = new ScriptedService((attempt) => attempt.fail("connect_timeout"));
  const { send, upstream } = setup({ type: "service", service: other, maxReplayBytes: 4 }, [responds(500)]);
  t.equal(send().reply.outcome, "connect_timeout");
  const gone = send();
  upstream.last.fail("connect_failed");
  gone.call.cancel(scriptedError);
  t.equal(gone.reply.outcome, scriptedError.code);
  t.equal(other.last.cancelledWith, scriptedError);
});

t.test("the last good answer, with its age", async (t) => {
  const cache = new ReplyCache(replyCacheDefaults);
  const stale: FallbackAnswer = { type: "stale", cache, scope: "api" };
  const good: Step = at((attempt) => {
    attempt.head(200, ["content-type", "text/plain", "age", "7"], new BufferedBody(Buffer.from("good")));
    attempt.end();
  });
  const { clock, send, meters } = setup(stale, [
    good,
    fails("connect_failed"),
    fails("connect_failed"),
    fails("connect_failed"),
    fails("connect_failed"),
  ]);
  const first = send();
  const read = new ScriptedSink();
  first.reply.body?.attach(read);
  t.equal(read.bytes.toString(), "good");
  clock.advance(2500);
  const again = send();
  t.equal(again.reply.outcome, "200");
  t.equal(getHeader(again.reply.headers, "age"), "9");
  t.equal(getHeader(again.reply.headers, "content-length"), "4");
  t.equal(getHeader(again.reply.headers, "x-remora-fallback"), "stale");
  const sink = new ScriptedSink();
  again.reply.body?.attach(sink);
  t.equal(sink.bytes.toString(), "good");
  const head = send({ method: "HEAD" });
  t.same([head.reply.outcome, head.reply.body], ["200", null]);
  t.equal(send({ method: "POST" }).reply.outcome, "connect_failed");
  clock.advance(replyCacheDefaults.maxAgeMs);
  t.equal(send().reply.outcome, "connect_failed", "too old");
  t.equal(meters.missed.value, 2);
  t.equal(cache.bytes, 0);
});

t.test("what is kept, for whom, and how much of it", async (t) => {
  const keep = (
    cache: ReplyCache,
    request: readonly string[],
    response: readonly string[],
    { target = "/", body = "x", status = 200, method = "GET" } = {},
  ): void => {
    const context = scriptedRequest({ method, headers: request });
    context.head.target = target;
    const head = { status, reason: "", version: "1.1" as const, headers: [...response] };
    const source = new ScriptedSource(-1, null);
    const copied = cache.record("s", context.head, head, source, () => 0);
    copied?.attach(new ScriptedSink());
    source.arrive(Buffer.from(body), "end");
  };
  const has = (cache: ReplyCache, request: readonly string[] = [], target = "/", scope = "s"): boolean => {
    const context = scriptedRequest({ headers: request });
    context.head.target = target;
    return cache.find(scope, context, 0) !== undefined;
  };
  const cases: readonly [string, readonly string[], readonly string[], boolean][] = [
    ["plain", [], [], true],
    ["max-age", [], ["cache-control", "public, max-age=5"], true],
    ["private", [], ["cache-control", "max-age=5,private"], false],
    ["no-store", [], ["Cache-Control", "No-Store"], false],
    ["no-cache", [], ["cache-control", 'no-cache="x"'], false],
    ["must-revalidate", [], ["cache-control", "must-revalidate"], false],
    ["a word inside another", [], ["cache-control", "x-private-y"], true],
    ["set-cookie", [], ["set-cookie", "a=b"], false],
    ["authorization", ["authorization", "Bearer x"], [], false],
    ["cookie", ["cookie", "a=b"], [], false],
    ["range", ["range", "bytes=0-1"], [], false],
    ["vary *", [], ["vary", "*"], false],
    ["vary by what is the same", ["accept", "a"], ["vary", "Accept, accept-encoding"], true],
  ];
  for (const [name, request, response, expected] of cases) {
    const cache = new ReplyCache(replyCacheDefaults);
    keep(cache, request, response);
    t.equal(has(cache, request), expected, name);
    t.equal(cache.entries, expected ? 1 : 0, name);
  }
  const cache = new ReplyCache({ ...replyCacheDefaults, maxEntries: 2 });
  keep(cache, ["accept", "a"], ["vary", "accept"]);
  t.equal(has(cache, ["accept", "b"]), false, "another variant");
  t.equal(has(cache), false, "no variant");
  t.equal(has(cache, ["accept", "a"], "/", "elsewhere"), false, "another route");
  t.equal(has(cache, ["accept", "a", "authorization", "x"]), false, "whoever proves himself gets his own");
  keep(cache, [], [], { status: 404, target: "/404" });
  keep(cache, [], [], { method: "POST", target: "/post" });
  t.equal(cache.entries, 1);
  keep(cache, [], [], { target: "/2" });
  t.ok(has(cache, ["accept", "a"]), "used last");
  keep(cache, [], [], { target: "/3" });
  t.same([has(cache, ["accept", "a"]), has(cache, [], "/2"), has(cache, [], "/3")], [true, false, true]);
  cache.configure({ ...replyCacheDefaults, maxEntries: 1 });
  t.same([has(cache, ["accept", "a"]), has(cache, [], "/3")], [false, true]);

  const small = new ReplyCache({ ...replyCacheDefaults, maxBytes: 3000 });
  keep(small, [], [], { body: "x".repeat(4000) });
  t.equal(small.entries, 0, "larger than all of the memory");
  for (let i = 0; i < 50; i++) keep(small, [], [], { target: `/${i}`, body: "x".repeat(i * 20) });
  t.ok(small.bytes <= 3000 && small.entries > 1, `${small.bytes} bytes, ${small.entries} entries`);
  // Cut off: never kept, and its room comes back.
  const context = scriptedRequest();
  const source = new ScriptedSource();
  const copied = small.record(
    "s",
    context.head,
    { status: 200, reason: "", version: "1.1", headers: [] },
    source,
    () => 0,
  );
  copied?.attach(new ScriptedSink());
  source.arrive(Buffer.alloc(1000));
  source.fail(scriptedError);
  t.equal(has(small), false);
  keep(small, [], [], { target: "/after", body: "x".repeat(2000) });
  t.ok(has(small, [], "/after"), "the room of what was cut off is free again");
});

t.test("whatever comes in whatever order: one head, one end, nothing after it", async (t) => {
  const event = fc.constantFrom(
    "head 200",
    "head 503",
    "fail",
    "end",
    "other head",
    "other end",
    "other fail",
    "cancel",
  );
  const property = fc.property(
    fc.array(event, { maxLength: 12 }),
    fc.constantFrom("reply", "service", "stale"),
    fc.boolean(),
    (events, type, endsLate) => {
      const other = new ScriptedService();
      const cache = new ReplyCache(replyCacheDefaults);
      const answer: FallbackAnswer =
        type === "reply"
          ? later
          : type === "service"
            ? { type, service: other, maxReplayBytes: 10 }
            : { type: "stale", cache, scope: "s" };
      const { send, upstream } = setup(answer, []);
      const { reply, call } = send();
      upstream.last.endsOnCancel = !endsLate;
      let hasHead = false;
      let otherHasHead = false;
      for (const each of events) {
        const own = upstream.last;
        const [asked] = other.attempts;
        if (each === "cancel") call.cancel(scriptedError);
        if (each.startsWith("head") && !own.isEnded && !hasHead) {
          hasHead = true;
          own.head(each === "head 200" ? 200 : 503);
        }
        if (each === "fail" && !own.isEnded) own.fail("upstream_reset");
        if (each === "end" && !own.isEnded && hasHead) own.end();
        if (asked === undefined || asked.isEnded) continue;
        if (each === "other head" && !otherHasHead) {
          otherHasHead = true;
          asked.head(200);
        }
        if (each === "other end" && otherHasHead) asked.end();
        if (each === "other fail") asked.fail("upstream_reset");
      }
      // Whatever is still open ends with the caller.
      call.cancel(scriptedError);
      if (!upstream.last.isEnded) upstream.last.end(scriptedError);
      return reply.ends === 1 && upstream.last.isEnded && other.attempts.every(({ isEnded }) => isEnded);
    },
  );
  t.doesNotThrow(() => fc.assert(property, { numRuns: 500 }));
});
