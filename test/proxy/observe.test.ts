/** What is counted, logged and answered when a request goes wrong, whichever way. */
import t from "tap";
import { errorTable, type ErrorCode } from "../../src/errors/error-table.js";
import { ProxyError } from "../../src/errors/proxy-error.js";
import { errorReply } from "../../src/proxy/local-reply.js";
import { observe } from "../../src/proxy/observe.js";
import { rescue } from "../../src/proxy/rescue.js";
import { stack, type Service } from "../../src/stack/service.js";
import type { AccessLogEntry } from "../../src/telemetry/access-log-format.js";
import { Counter } from "../../src/telemetry/cells.js";
import { ListenerMetrics } from "../../src/telemetry/listener-metrics.js";
import { Metrics } from "../../src/telemetry/metrics.js";
import type { RequestMetrics } from "../../src/telemetry/request-metrics.js";
import { FakeClock } from "../support/fake-clock.js";
import { RecordedReply, ScriptedService, scriptedRequest, type Step } from "../support/scripted-service.js";

function setup(inner: Service) {
  const clock = new FakeClock();
  const listener = new ListenerMetrics(new Metrics(), "web", "outbound");
  const recorded: string[] = [];
  const entries: AccessLogEntry[] = [];
  const defects: unknown[] = [];
  const errors = new Map<ErrorCode, Counter>();
  const service = stack(
    [
      observe({
        clock,
        listener,
        requestMetrics: () =>
          ({
            record(...[status, flag, , , , grpc]: Parameters<RequestMetrics["record"]>) {
              recorded.push(`${status} ${flag}${grpc === -1 ? "" : ` grpc ${grpc}`}`);
            },
          }) as never,
        errorCounter(code) {
          const counter = errors.get(code) ?? new Counter();
          errors.set(code, counter);
          return counter;
        },
        accessLog: { write: (entry) => void entries.push(entry), close: () => Promise.resolve() },
        onDefect: (cause) => void defects.push(cause),
      }),
      rescue,
    ],
    inner,
  );
  const send = (flag = "", headers: readonly string[] = []) => {
    const request = scriptedRequest({ method: "POST", headers });
    request.flag = flag;
    const reply = new RecordedReply();
    const call = service.call(request, reply);
    return { request, reply, call };
  };
  const counted = () => Object.fromEntries([...errors].map(([code, { value }]) => [code, value]));
  return { send, recorded, entries, defects, counted, listener };
}

t.test("a layer that throws costs its request a 500, and nobody learns why but the log", async (t) => {
  const cause = new Error("key is hunter2");
  const { send, recorded, defects, counted, listener } = setup({
    call(_, reply) {
      queueMicrotask(() => reply.head({ status: 200, reason: "", version: "1.1", headers: [] }, null));
      throw cause;
    },
  });
  const { reply } = send();
  await Promise.resolve();
  t.equal(reply.outcome, "500", "the head that came too late is dropped");
  t.same(defects, [cause]);
  t.same(counted(), { internal: 1 });
  t.same(recorded, ["500 -"]);
  t.equal(listener.requestsActive.value, 0);
  const told = errorReply(new ProxyError("internal", "unexpected failure", { cause }));
  t.notMatch(told?.body.toString(), "hunter2");
});

t.test("flags: the error's own, and what adds to it", async (t) => {
  const upstream = new ScriptedService(
    (attempt) => attempt.fail("connect_failed"),
    (attempt) => attempt.fail("connect_failed"),
    (attempt) => attempt.respond(503),
    (attempt) => {
      attempt.head(200);
      attempt.fail("upstream_truncated");
    },
  );
  const { send, recorded, entries } = setup(upstream);
  send();
  send("URX");
  send("URX");
  send();
  const { call, reply } = send();
  call.cancel(new ProxyError("client_gone", "went away"));
  t.equal(reply.outcome, "client_gone", "nobody is left to be told");
  t.same(recorded, ["502 UF", "502 UF,URX", "503 URX", "200 UC", "0 DC"]);
  t.same(
    entries.map(({ codeDetails }) => codeDetails),
    ["connect_failed", "connect_failed", "direct_response", "upstream_truncated", "client_gone"],
  );
  t.match(entries[0]?.upstreamFailure, "scripted");
});

t.test("every code has its reply: header, one line, Retry-After where it helps", async (t) => {
  const grpc = scriptedRequest().head;
  grpc.headers.push("Content-Type", "application/grpc");
  for (const code of Object.keys(errorTable) as ErrorCode[]) {
    const { status, grpcStatus, text } = errorTable[code];
    const error = new ProxyError(code, "line\r\nx-evil: 1 \u0000 100% gr\u00fc\u00dfe");
    const reply = errorReply(error, scriptedRequest().head);
    const rpc = errorReply(error, grpc);
    if (status === 0) {
      t.same([reply, rpc], [null, null]);
      continue;
    }
    const headers = new Map(
      reply?.head.headers.flatMap((name, i, all) => (i % 2 === 0 ? [[name, all[i + 1]]] : [])),
    );
    t.equal(reply?.head.status, status);
    t.equal(headers.get("x-remora-error"), code);
    t.equal(headers.get("content-length"), String(reply?.body.length));
    t.notOk(headers.has("retry-after"), "a caller may try another endpoint at once");
    t.equal(reply?.body.toString(), `${text}: line x-evil: 1   100% gr\u00fc\u00dfe\n`);
    const named = rpc?.head.headers ?? [];
    t.equal(rpc?.head.status, 200);
    t.equal(rpc?.body.length, 0);
    t.notOk(named.includes("content-length"), "the head is all there is");
    t.equal(named[named.indexOf("grpc-status") + 1], String(grpcStatus));
    t.equal(named[named.indexOf("grpc-message") + 1], `${text}: line x-evil: 1   100%25 gr%C3%BC%C3%9Fe`);
  }
});

t.test("a gRPC call counts by what its caller was told, or makes of what it got", async (t) => {
  const grpc = ["content-type", "application/grpc"];
  const cases: [name: string, step: Step, recorded: string, status: number][] = [
    ["trailers-only", (a) => a.respond(200, [...grpc, "grpc-status", "5"]), "200 - grpc 5", 5],
    [
      "trailers, noted below",
      (a) => {
        a.request.grpcStatus = 0;
        a.respond(200, grpc);
      },
      "200 - grpc 0",
      0,
    ],
    ["no status at all", (a) => a.respond(200, grpc), "200 - grpc 2", 2],
    ["an HTTP error", (a) => a.respond(503), "503 - grpc 14", 14],
    ["our own error", (a) => a.fail("route_timeout"), "200 UT grpc 4", 4],
    [
      "our own error after an attempt that told another",
      (a) => {
        a.request.grpcStatus = 8;
        a.fail("connect_failed");
      },
      "200 UF grpc 14",
      14,
    ],
    [
      "cut after the head",
      (a) => {
        a.head(200, grpc);
        a.fail("upstream_protocol_error");
      },
      "200 UPE grpc 13",
      13,
    ],
    ["nobody left", (a) => a.fail("client_gone"), "0 DC grpc 1", 1],
  ];
  const { send, recorded, entries } = setup(new ScriptedService(...cases.map(([, step]) => step)));
  for (const [name, , line, status] of cases) {
    const { reply } = send("", grpc);
    t.equal(recorded.at(-1), line, name);
    t.equal(entries.at(-1)?.grpcStatus, status, name);
    t.equal(reply.body, null, "a reply of ours is a head and no more");
  }
  const plain = setup(new ScriptedService((a) => a.respond(200, ["grpc-status", "5"])));
  plain.send();
  t.same(plain.recorded, ["200 -"]);
  t.equal(plain.entries[0]?.grpcStatus, -1);
});
