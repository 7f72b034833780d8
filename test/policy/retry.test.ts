import t from "tap";
import { clusterDefaults, retryDefaults } from "../../src/config/cluster-defaults.js";
import type { RetryConfig } from "../../src/config/retry-config.js";
import { errorTable, type ErrorCode } from "../../src/errors/error-table.js";
import { ProxyError } from "../../src/errors/proxy-error.js";
import { RetryBudget } from "../../src/policy/retry-budget.js";
import { retryRules, shouldRetry, type FailedAttempt } from "../../src/policy/retry-decision.js";
import { SharedOrigin } from "../../src/policy/request-memory.js";
import { RetryPlaces } from "../../src/policy/retry-places.js";
import { retry } from "../../src/policy/retry.js";
import { Counter } from "../../src/telemetry/cells.js";
import { TimerWheel } from "../../src/time/timer-wheel.js";
import { FakeClock } from "../support/fake-clock.js";
import { ScriptedSink, ScriptedSource, scriptedError } from "../support/scripted-body.js";
import { getHeader } from "../../src/traffic/headers.js";
import {
  RecordedReply,
  ScriptedAttempt,
  ScriptedService,
  scriptedRequest,
  type Step,
} from "../support/scripted-service.js";

const config: RetryConfig = { ...retryDefaults, attempts: 2 };

interface SetupOptions {
  readonly config?: RetryConfig;
  readonly steps?: Step[];
  readonly budget?: RetryBudget;
  readonly places?: RetryPlaces;
  readonly silenceMs?: number;
}

function setup(options: SetupOptions) {
  const clock = new FakeClock();
  const meters = {
    retries: new Counter(),
    successes: new Counter(),
    overflows: new Counter(),
    exhausted: new Counter(),
  };
  const upstream = new ScriptedService(...(options.steps ?? []));
  const service = retry({
    config: options.config,
    budget: options.budget ?? new RetryBudget(clusterDefaults.retryBudget),
    places: options.places,
    wheel: new TimerWheel(clock),
    clock,
    meters,
    ...(options.silenceMs !== undefined && { silenceMs: options.silenceMs }),
  })(upstream);
  const counts = (): number[] => Object.values(meters).map((counter) => counter.value);
  return { clock, upstream, service, reply: new RecordedReply(), counts };
}

const fail =
  (code: ErrorCode): Step =>
  (attempt) =>
    attempt.fail(code);
const respond =
  (status: number, ...headers: string[]): Step =>
  (attempt) =>
    attempt.respond(status, headers);

t.test("decision: by outcome, method and configuration", async (t) => {
  const base: FailedAttempt = {
    outcome: 503,
    method: "GET",
    hasKey: false,
    isLeftToOthers: false,
    retries: 0,
    canReplay: true,
    retryAfterMs: undefined,
    remainingMs: Infinity,
    backoffMs: 10,
  };
  const cases: [Partial<FailedAttempt>, RetryConfig | undefined, string][] = [
    [{ outcome: "connect_failed", method: "POST" }, undefined, "retry 10"],
    [{ outcome: "upstream_unprocessed", method: "POST" }, undefined, "retry 10"],
    [{ outcome: "upstream_reset" }, undefined, "final"],
    [{ outcome: "keepalive_race" }, undefined, "retry 10"],
    [{ outcome: "keepalive_race", method: "POST" }, undefined, "final"],
    [{ outcome: "keepalive_race", retries: 1 }, undefined, "exhausted"],
    [{ outcome: "keepalive_race", canReplay: false }, undefined, "final"],
    [{ outcome: "keepalive_race" }, { ...config, methods: [] }, "retry 10"],
    [{ outcome: 503 }, undefined, "final"],
    [{ outcome: "connect_failed", retries: 1 }, undefined, "exhausted"],
    [{ outcome: "upstream_reset" }, config, "retry 10"],
    [{ outcome: "upstream_reset", method: "POST" }, config, "final"],
    [{ outcome: "attempt_timeout" }, config, "retry 10"],
    [{ outcome: "route_timeout" }, config, "final"],
    [{ outcome: "concurrency_limit" }, config, "final"],
    [{ outcome: 503 }, config, "retry 10"],
    [{ outcome: 500 }, config, "final"],
    [{ outcome: 503, method: "POST" }, config, "final"],
    [{ outcome: 503, method: "POST" }, { ...config, methods: ["POST"] }, "retry 10"],
    [{ outcome: 503, method: "POST", hasKey: true }, config, "retry 10"],
    [{ outcome: 503, method: "PATCH", hasKey: true }, config, "retry 10"],
    [{ outcome: 503, method: "LOCK", hasKey: true }, config, "final"],
    [{ outcome: 503, method: "PUT", hasKey: true }, { ...config, methods: [] }, "final"],
    [{ outcome: "upstream_reset", method: "POST", hasKey: true }, config, "retry 10"],
    [{ outcome: "upstream_reset", method: "POST", hasKey: true }, undefined, "final"],
    [{ outcome: "keepalive_race", method: "POST", hasKey: true }, undefined, "retry 10"],
    [{ outcome: { grpcStatus: 13, madeBy: undefined }, method: "POST", hasKey: true }, config, "final"],
    [{ outcome: 503, isLeftToOthers: true }, config, "suppressed"],
    [{ outcome: 500, isLeftToOthers: true }, config, "final"],
    [{ outcome: "upstream_reset", isLeftToOthers: true }, config, "suppressed"],
    [{ outcome: "keepalive_race", isLeftToOthers: true }, undefined, "suppressed"],
    [{ outcome: "connect_failed", isLeftToOthers: true, method: "POST" }, config, "retry 10"],
    [{ outcome: "upstream_unprocessed", isLeftToOthers: true, retries: 2 }, config, "exhausted"],
    [{ outcome: 503, retries: 1 }, config, "retry 10"],
    [{ outcome: 503, retries: 2 }, config, "exhausted"],
    [{ outcome: 500, retries: 2 }, config, "final"],
    [{ canReplay: false }, config, "final"],
    [{ outcome: "connect_failed", canReplay: false }, config, "final"],
    [{ retryAfterMs: 0 }, config, "retry 10"],
    [{ retryAfterMs: 100 }, config, "retry 100"],
    [{ retryAfterMs: 1000 }, config, "retry 1000"],
    [{ retryAfterMs: 300_000 }, config, "retry 300000"],
    [{ retryAfterMs: 300_001 }, config, "final"],
    [{ retryAfterMs: 500 }, { ...config, maxRetryAfterMs: 500 }, "retry 500"],
    [{ retryAfterMs: 501 }, { ...config, maxRetryAfterMs: 500 }, "final"],
    [{ retryAfterMs: 1000, remainingMs: 1000 }, config, "final"],
    [{ remainingMs: 10 }, config, "final"],
    [{ remainingMs: 11 }, config, "retry 10"],
  ];
  for (const [change, rules, expected] of cases) {
    const decision = shouldRetry(retryRules(rules), { ...base, ...change });
    const text = decision.type === "retry" ? `retry ${decision.waitMs}` : decision.type;
    t.equal(text, expected, JSON.stringify([change, rules?.methods]));
  }
  const never = (Object.keys(errorTable) as ErrorCode[]).filter((code) => errorTable[code].retry === "never");
  for (const outcome of never)
    t.equal(shouldRetry(retryRules(config), { ...base, outcome }).type, "final", outcome);
});

t.test("a lost keep-alive race is retried on a fresh connection", async (t) => {
  for (const code of ["keepalive_race", "upstream_unprocessed", "connect_failed"] as const) {
    const isFresh: boolean[] = [];
    const note: Step = (attempt) => isFresh.push(attempt.request.needsFreshConnection);
    const { clock, service, reply } = setup({
      steps: [
        (attempt) => (note(attempt), attempt.fail(code)),
        (attempt) => (note(attempt), attempt.respond(200)),
      ],
    });
    service.call(scriptedRequest(), reply);
    clock.advance(1000);
    t.equal(reply.outcome, "200", code);
    t.strictSame(isFresh, [false, code !== "connect_failed"], code);
  }
});

t.test("a refused connection is retried once, for any method, after a jittered pause", async (t) => {
  const { clock, upstream, service, reply, counts } = setup({
    steps: [fail("connect_failed"), respond(200)],
  });
  clock.randoms = [0.8];
  service.call(scriptedRequest({ method: "POST" }), reply);
  t.equal(reply.outcome, "pending");
  clock.advance(19);
  t.equal(upstream.attempts.length, 1, "0.8 of 25 ms is a pause of 20 ms");
  clock.advance(11);
  t.equal(reply.outcome, "200");
  t.same(counts(), [1, 1, 0, 0]);
  t.equal(clock.pendingTimers, 0);
});

t.test("waits grow as the document says, and chance does with them what it may", async (t) => {
  const second = { attempts: 4, baseBackoffMs: 1000, maxBackoffMs: 8000 };
  const cases: [name: string, change: Partial<RetryConfig>, randoms: number[], waits: number[]][] = [
    ["none", { jitter: "none" }, [0.3], [1000, 2000, 4000, 8000]],
    ["none, three", { jitter: "none", attempts: 3 }, [0.3], [1000, 2000, 4000]],
    ["full", {}, [0.5, 0.25, 0.1, 0.75], [500, 500, 400, 6000]],
    ["equal", { jitter: "equal" }, [0, 1, 0.5, 0.25], [500, 2000, 3000, 5000]],
    ["factor 3", { jitter: "none", backoffFactor: 3 }, [0], [1000, 3000, 8000, 8000]],
    ["factor 1", { jitter: "none", backoffFactor: 1 }, [0], [1000, 1000, 1000, 1000]],
  ];
  for (const [name, change, randoms, waits] of cases) {
    const { clock, upstream, service, reply } = setup({ config: { ...config, ...second, ...change } });
    clock.randoms = randoms;
    upstream.call = (request, attemptReply) => {
      const attempt = new ScriptedAttempt(request, attemptReply);
      upstream.attempts.push(attempt);
      began.push(clock.monotonicMs());
      attempt.respond(503);
      return attempt;
    };
    const began: number[] = [];
    service.call(scriptedRequest(), reply);
    clock.advance(60_000);
    t.same(
      began.slice(1).map((atMs, index) => atMs - (began[index] ?? 0)),
      waits,
      name,
    );
    t.equal(reply.outcome, "503", name);
  }
});

t.test("a key makes a POST repeatable: the same on all attempts, and readable in one way only", async (t) => {
  const cases: [name: string, headers: string[], attempts: number][] = [
    ["none", [], 1],
    ["structured", ["Idempotency-Key", '"8e03978e"'], 3],
    ["bare", ["idempotency-key", "8e03978e"], 3],
    ["empty", ["Idempotency-Key", ""], 1],
    ["empty string", ["Idempotency-Key", '""'], 1],
    ["two", ["Idempotency-Key", "a", "idempotency-key", "b"], 1],
    ["gRPC goes by its status", ["Idempotency-Key", "a", "content-type", "application/grpc"], 1],
  ];
  for (const [name, headers, attempts] of cases) {
    const isGrpc = headers.includes("application/grpc");
    const step = isGrpc ? respond(200, "grpc-status", "13") : respond(503);
    const { clock, upstream, service, reply } = setup({ config, steps: [step, step, step] });
    service.call(scriptedRequest({ method: "POST", headers }), reply);
    clock.advance(1000);
    t.equal(upstream.attempts.length, attempts, name);
    const keys = upstream.attempts.map(({ request }) => getHeader(request.head.headers, "idempotency-key"));
    t.equal(new Set(keys).size, 1, name);
  }
});

t.test("what another hop repeats is sent again only if nobody saw it", async (t) => {
  const cases: [name: string, isRepetition: boolean, steps: Step[], attempts: number, spent: boolean][] = [
    ["a first attempt", false, [respond(503), respond(200)], 2, false],
    ["a repetition", true, [respond(503)], 1, true],
    ["a repetition, reset", true, [fail("upstream_reset")], 1, true],
    ["a repetition that nobody saw", true, [fail("connect_failed"), respond(200)], 2, false],
    ["a repetition that was refused", true, [fail("upstream_unprocessed"), respond(503)], 2, true],
    ["not retryable", true, [respond(500)], 1, false],
    ["spent further on", false, [respond(503, "x-remora-retries", "spent")], 1, true],
    [
      "spent further on, by a status of no interest here",
      false,
      [respond(500, "x-remora-retries", "spent")],
      1,
      true,
    ],
    ["another word", false, [respond(503, "x-remora-retries", "many"), respond(200)], 2, false],
    ["a success is one", false, [respond(200, "x-remora-retries", "spent")], 1, false],
    ["attempts used up", false, [respond(503), respond(503), respond(503)], 3, true],
  ];
  for (const [name, isRepetition, steps, attempts, spent] of cases) {
    const { clock, upstream, service, reply } = setup({ config, steps });
    const request = scriptedRequest();
    request.isRepetition = isRepetition;
    request.origin = new SharedOrigin();
    service.call(request, reply);
    clock.advance(1000);
    t.equal(upstream.attempts.length, attempts, name);
    t.equal(request.origin.hasSpentRetries, spent, name);
  }
  const unasked = setup({ steps: [fail("connect_failed"), fail("connect_failed")] });
  const request = scriptedRequest();
  request.origin = new SharedOrigin();
  unasked.service.call(request, unasked.reply);
  unasked.clock.advance(1000);
  t.notOk(request.origin.hasSpentRetries, "the one retry that everybody has leaves callers theirs");
});

t.test("attempts are counted when the application may have seen the one before", async (t) => {
  const numbers: number[] = [];
  const note =
    (step: Step): Step =>
    (attempt) => {
      numbers.push(attempt.request.attempt);
      step(attempt);
    };
  const steps = [fail("connect_failed"), respond(503), fail("upstream_reset"), respond(200)].map(note);
  const { clock, service, reply } = setup({ config: { ...config, attempts: 3 }, steps });
  service.call(scriptedRequest(), reply);
  clock.advance(2000);
  t.equal(reply.outcome, "200");
  t.same(numbers, [1, 1, 2, 3]);
});

t.test("attempts used up: the last result passes, with URX", async (t) => {
  const byStatus = setup({ config, steps: [respond(503), respond(502), respond(504)] });
  const request = scriptedRequest();
  byStatus.service.call(request, byStatus.reply);
  byStatus.clock.advance(1000);
  t.equal(byStatus.reply.outcome, "504");
  t.equal(request.flag, "URX");
  t.same(byStatus.counts(), [2, 0, 0, 1]);

  const byError = setup({ steps: [fail("connect_failed"), fail("connect_timeout")] });
  byError.service.call(request, byError.reply);
  byError.clock.advance(1000);
  t.equal(byError.reply.outcome, "connect_timeout");
});

t.test("a response that will be retried is cancelled, and its end awaited", async (t) => {
  const { clock, upstream, service, reply } = setup({ config });
  service.call(scriptedRequest(), reply);
  const first = upstream.last;
  first.endsOnCancel = false;
  first.informational(103);
  first.head(503);
  t.equal(first.cancelledWith?.code, "client_gone");
  clock.advance(1000);
  t.equal(upstream.attempts.length, 1, "nothing is sent while the connection has not let go");
  first.end(first.cancelledWith);
  clock.advance(1000);
  upstream.last.respond(200);
  t.equal(reply.outcome, "200");
  t.same(reply.informationals, [103]);
});

t.test("a retryable head within the call is cancelled as soon as the call is there", async (t) => {
  const { clock, upstream, service, reply } = setup({ config, steps: [(attempt) => attempt.head(503)] });
  service.call(scriptedRequest(), reply);
  t.equal(upstream.last.cancelledWith?.code, "client_gone");
  clock.advance(1000);
  upstream.last.respond(200);
  t.equal(reply.outcome, "200");
});

t.test("nothing is retried once a head went downstream", async (t) => {
  const { clock, upstream, service, reply } = setup({ config });
  service.call(scriptedRequest(), reply);
  upstream.last.head(200);
  upstream.last.fail("upstream_truncated");
  clock.advance(1000);
  t.equal(reply.outcome, "200 upstream_truncated");
  t.equal(upstream.attempts.length, 1);
});

t.test("a POST that the upstream may have worked on is sent exactly once", async (t) => {
  for (const code of ["upstream_reset", "upstream_closed", "attempt_timeout"] as const) {
    const { clock, upstream, service, reply } = setup({ config, steps: [fail(code)] });
    service.call(scriptedRequest({ method: "POST" }), reply);
    clock.advance(1000);
    t.equal(reply.outcome, code);
    t.equal(upstream.attempts.length, 1);
  }
});

t.test("cancel ends the call at once, in every phase, and no attempt follows", async (t) => {
  const gone = new ProxyError("client_gone", "test");
  const check = (name: string, env: ReturnType<typeof setup>, before: () => void): void => {
    const call = env.service.call(scriptedRequest(), env.reply);
    before();
    const { length } = env.upstream.attempts;
    call.cancel(gone);
    call.cancel(gone);
    t.equal(env.reply.error, gone, name);
    t.equal(env.reply.ends, 1, name);
    env.clock.advance(1000);
    t.equal(env.upstream.attempts.length, length, name);
    t.equal(env.clock.pendingTimers, 0, name);
  };
  const trying = setup({ config });
  check("trying", trying, () => {});
  const waiting = setup({ config, steps: [respond(503)] });
  check("waiting", waiting, () => {});
  const committed = setup({ config });
  check("committed", committed, () => committed.upstream.last.head(200));

  const discarding = setup({ config });
  const call = discarding.service.call(scriptedRequest(), discarding.reply);
  const first = discarding.upstream.last;
  first.endsOnCancel = false;
  first.head(503);
  call.cancel(gone);
  first.end();
  t.equal(discarding.reply.error, gone, "discarding");
  discarding.clock.advance(1000);
  t.equal(discarding.upstream.attempts.length, 1);

  // The caller cancels from inside the head of the second attempt, whose call has not returned yet.
  const nested = setup({ config, steps: [respond(503), (attempt) => attempt.head(200)] });
  nested.reply.head = () => nestedCall.cancel(gone);
  const nestedCall = nested.service.call(scriptedRequest(), nested.reply);
  nested.clock.advance(1000);
  t.equal(nested.upstream.last.cancelledWith, gone, "nested");
  t.equal(nested.reply.error, gone, "nested");
});

t.test("no time left, Retry-After too long, budget spent: the result passes at once", async (t) => {
  const late = setup({ config });
  const dated = scriptedRequest();
  dated.deadlineMs = 1000;
  late.service.call(dated, late.reply);
  late.clock.advance(995);
  late.upstream.last.respond(503);
  t.equal(late.reply.outcome, "503", "12 ms of pause do not fit in 5 ms");

  const busy = setup({ config, steps: [respond(503, "Retry-After", "301")] });
  busy.service.call(scriptedRequest(), busy.reply);
  t.equal(busy.reply.outcome, "503");

  for (const [silenceMs, outcome] of [
    [1000, "503"],
    [1100, "pending"],
    [0, "pending"],
  ] as const) {
    const silent = setup({ config, silenceMs, steps: [respond(503, "Retry-After", "1")] });
    silent.service.call(scriptedRequest(), silent.reply);
    t.equal(silent.reply.outcome, outcome, `silence of ${silenceMs} ms`);
  }

  const budget = new RetryBudget({ percent: 0, minRetriesPerSecond: 0.1, windowMs: 10_000 });
  const spent = setup({ config, budget, steps: [respond(503), respond(502), fail("connect_failed")] });
  spent.service.call(scriptedRequest(), spent.reply);
  spent.clock.advance(1000);
  t.equal(spent.reply.outcome, "502", "one retry was in the budget, the second was not");
  t.same(spent.counts(), [1, 0, 1, 0]);
  const request = scriptedRequest();
  const second = new RecordedReply();
  spent.service.call(request, second);
  t.equal(second.outcome, "connect_failed");
  t.equal(request.flag, "");
});

t.test("so many retries under way at once, each until its outcome is known", async (t) => {
  const holds: readonly (readonly [string, (attempt: ScriptedAttempt) => void, boolean])[] = [
    ["a response that is not over", (attempt) => attempt.head(200), true],
    ["a response", (attempt) => attempt.respond(200), true],
    ["a failure that is final", (attempt) => attempt.fail("internal"), true],
    ["an interim response", (attempt) => attempt.informational(103), false],
    ["nothing", () => undefined, false],
  ];
  for (const [what, act, isGiven] of holds) {
    const places = new RetryPlaces(1);
    const env = setup({ config: { ...config, attempts: 1 }, places, steps: [respond(503)] });
    env.service.call(scriptedRequest(), env.reply);
    t.notOk(places.hasRoom, "also during the pause");
    env.clock.advance(1000);
    act(env.upstream.last);
    t.equal(places.hasRoom, isGiven, what);
  }

  const places = new RetryPlaces(2);
  const env = setup({ config, places, steps: [respond(503), respond(503), respond(503)] });
  const replies = [1, 2, 3].map(() => {
    const reply = new RecordedReply();
    return { reply, call: env.service.call(scriptedRequest(), reply) };
  });
  t.same(
    replies.map(({ reply }) => reply.outcome),
    ["pending", "pending", "503"],
    "the third finds no place",
  );
  env.clock.advance(1000);
  t.same(env.counts(), [2, 0, 1, 0], "as when the budget is spent");
  env.upstream.attempts[3]?.respond(502);
  t.notOk(places.hasRoom, "who repeats again keeps a place");
  replies[0]?.call.cancel(new ProxyError("client_gone", "scripted"));
  t.ok(places.hasRoom, "given up");
  replies[1]?.call.cancel(new ProxyError("client_gone", "scripted"));
  t.ok(places.hasRoom);
  places.limit = 0;
  t.notOk(places.hasRoom);

  // Both bound: a retry that the budget denies keeps no place, and one without a place costs the budget nothing.
  const budget = new RetryBudget({ percent: 0, minRetriesPerSecond: 0.1, windowMs: 10_000 });
  const both = { config, budget, places: new RetryPlaces(1) };
  both.places.take();
  const full = setup({ ...both, steps: [respond(503)] });
  full.service.call(scriptedRequest(), full.reply);
  t.same([full.reply.outcome, Math.floor(budget.available(0))], ["503", 1]);
  both.places.give();
  t.ok(budget.tryRetry(0));
  const spent = setup({ ...both, steps: [respond(503)] });
  spent.service.call(scriptedRequest(), spent.reply);
  t.same([spent.reply.outcome, both.places.hasRoom], ["503", true]);
});

t.test("the body is sent again whole; a body over the limit is not retried", async (t) => {
  const upload = (limit: number, code: ErrorCode) => {
    const env = setup({ config: { ...config, maxReplayBytes: limit } });
    const source = new ScriptedSource();
    const request = scriptedRequest({ method: "PUT", body: source });
    env.service.call(request, env.reply);
    const first = new ScriptedSink();
    env.upstream.last.body?.attach(first);
    source.arrive(Buffer.from("hello "), Buffer.from("wor"));
    env.upstream.last.body?.cancel(scriptedError);
    env.upstream.last.fail(code);
    env.clock.advance(1000);
    source.arrive(Buffer.from("ld"), "end");
    return { ...env, source, first };
  };
  const fits = upload(64, "upstream_reset");
  const second = new ScriptedSink();
  fits.upstream.last.body?.attach(second);
  t.equal(second.bytes.toString(), "hello world");
  t.same(second.trailers, ["x-checksum", "1"]);
  fits.upstream.last.respond(200);
  t.equal(fits.reply.outcome, "200");
  t.equal(fits.source.cancelledWith, null);

  const env = setup({ config });
  const refused = new ScriptedSource();
  env.service.call(scriptedRequest({ method: "PUT", body: refused }), env.reply);
  env.upstream.last.body?.attach(new ScriptedSink());
  env.upstream.last.head(413);
  env.upstream.last.body?.cancel(scriptedError);
  t.equal(refused.cancelledWith, scriptedError, "after the head a refusal of the body is final");

  const over = upload(8, "upstream_reset");
  t.equal(over.first.bytes.toString(), "hello wor", "the first attempt got everything that came");
  t.equal(over.upstream.attempts.length, 1);
  t.equal(over.reply.outcome, "upstream_reset");
  t.equal(over.source.cancelledWith, scriptedError, "the upload is told that nobody reads it");
});

t.test("retry storm: with every answer a 503, the upstream gets at most 20 % + 10/s more", async (t) => {
  const { clock, upstream, service } = setup({ config });
  const seconds = 30;
  let attempts = 0;
  upstream.call = (_request, reply) => {
    attempts++;
    reply.head({ status: 503, reason: "", version: "1.1", headers: [] }, null);
    reply.end(null);
    return { cancel() {} };
  };
  for (let i = 0; i < seconds * 200; i++) {
    service.call(scriptedRequest({ startMs: clock.monotonicMs() }), {
      informational() {},
      head() {},
      end() {},
    });
    clock.advance(5);
  }
  const requests = seconds * 200;
  t.ok(attempts <= requests * 1.2 + seconds * 10 + 100, `${attempts} attempts for ${requests} requests`);
  t.ok(attempts > requests * 1.15, "and the budget is really used");
});

t.test("an endpoint's sidecar vouches that its application never saw the request", async (t) => {
  const cases: [name: string, step: Step, meshed: boolean, attempts: number][] = [
    ["cannot connect", respond(502, "x-remora-error", "connect_failed"), true, 2],
    ["was not sent", respond(502, "X-Remora-Error", "upstream_unprocessed"), true, 2],
    ["may have worked on it", respond(502, "x-remora-error", "upstream_reset"), true, 1],
    ["an application's own 502", respond(502), true, 1],
    ["no error of the table", respond(502, "x-remora-error", "constructor"), true, 1],
    ["no sidecar that could vouch", respond(502, "x-remora-error", "connect_failed"), false, 1],
  ];
  for (const [name, step, meshed, attempts] of cases) {
    const { clock, upstream, service, reply } = setup({ steps: [step, respond(200)] });
    const request = scriptedRequest({ method: "POST" });
    request.attemptAt({
      key: "a",
      config: { address: "10.0.0.1", port: 1, meshed, weight: 1, zone: "", instance: "", meta: {} },
    });
    service.call(request, reply);
    clock.advance(1000);
    t.equal(upstream.attempts.length, attempts, name);
    t.equal(reply.outcome, attempts === 2 ? "200" : "502", name);
  }
});
