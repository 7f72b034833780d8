/**
 * Real processes: gRPC from application to application through two sidecars, with two independent implementations of gRPC
 * (grpc-js, and the C core by python3-grpcio) as clients and as servers, in every pairing.
 */
import { createHash } from "node:crypto";
import http2 from "node:http2";
import { setTimeout as sleep } from "node:timers/promises";
import t from "tap";
import { metric, startMesh, type Running } from "../support/cli-mesh.js";
import { callWithJs, callWithPython } from "../support/grpc-callers.js";
import { GrpcEchoClient, GrpcEchoServer, echoService, patternOf, statusName } from "../support/grpc-peers.js";
import { call as ask } from "../support/http-load.js";
import { machinePace } from "../support/machine-pace.js";
import { PythonEchoServer, pythonCalls, skipWithoutPythonGrpc } from "../support/python-grpc-peer.js";
import { until } from "../support/until.js";

const noPython = skipWithoutPythonGrpc();
const hasPython = noPython === false;
const sha256 = (...parts: readonly (string | Buffer)[]): string => {
  const digest = createHash("sha256");
  for (const part of parts) digest.update(part);
  return digest.digest("hex");
};

const mesh = await startMesh(t);

/** A sidecar for a gRPC application in this process, or in one that the test has started. */
async function join(
  name: string,
  service: string,
  start: (port: number) => Promise<unknown>,
): Promise<Running> {
  const place = await mesh.place({ name, service, command: [], flags: ["--protocol", "grpc"] });
  await start(place.app);
  return { ...place, process: mesh.run(place) };
}

let jsServer!: GrpcEchoServer;
/** Accepts calls and never says a word. */
const mute = http2.createServer().on("stream", (stream) => stream.on("error", () => undefined));
const muteSessions = new Set<http2.ServerHttp2Session>();
mute.on("session", (session) => muteSessions.add(session));
let pythonServer: PythonEchoServer | undefined;
const trio: GrpcEchoServer[] = [];
const names = ["trio-1", "trio-2", "trio-3"];
const [web, js, python, ...three] = await Promise.all([
  mesh.join({ name: "web", service: "web", upstreams: ["js", "python", "trio", "ghost", "mute"] }),
  join("js", "js", async (port) => (jsServer = await GrpcEchoServer.start(port))),
  hasPython
    ? join("python", "python", async (port) => (pythonServer = await PythonEchoServer.start(port)))
    : undefined,
  ...names.map((name, at) =>
    join(name, "trio", async (port) => (trio[at] = await GrpcEchoServer.start(port))),
  ),
  join("mute", "mute", (port) => new Promise<void>((resolve) => mute.listen(port, "127.0.0.1", resolve))),
]);
const silent = three.pop() as Running;
t.teardown(async () => {
  for (const server of [jsServer, ...trio]) server.close();
  await pythonServer?.close();
  closeMute();
});
await mesh.untilKnown(web, "js", [js]);
if (python !== undefined) await mesh.untilKnown(web, "python", [python]);
await mesh.untilKnown(web, "trio", three);
await mesh.untilKnown(web, "mute", [silent]);

function closeMute(): void {
  mute.close();
  for (const session of muteSessions) session.destroy();
}
const at = (service: string): string => `127.0.0.1:${web.upstreams.get(service) ?? 0}`;

const policy = (service: string, spec: string): string => `
apiVersion: remora.mesh/v1
kind: TrafficPolicy
metadata: { name: ${service} }
spec: { targetRefs: [{ group: "", kind: Service, name: ${service} }], ${spec} }
`;
const route = (service: string, rules: string): string => `
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: { name: ${service} }
spec: { parentRefs: [{ group: "", kind: Service, name: ${service} }], rules: [${rules}] }
`;

const clients = { "grpc-js": callWithJs, ...(hasPython ? { "C core": callWithPython } : {}) };
const servers = { "grpc-js": "js", ...(hasPython ? { "C core": "python" } : {}) };
if (!hasPython) t.pass("pairings with the C core", { skip: noPython });

for (const [clientName, call] of Object.entries(clients))
  for (const [serverName, service] of Object.entries(servers))
    t.test(`${clientName} client, ${serverName} server`, async (t) => {
      const address = at(service);
      const messages = ["one", "two", "three"];
      const summary = `3 11 ${sha256("onetwothree")}`;
      const replies = {
        Unary: sha256("one"),
        ServerStream: sha256("one"),
        ClientStream: sha256(summary),
        Duplex: sha256("onetwothree"),
      };
      const methods = ["Unary", "ServerStream", "ClientStream", "Duplex"] as const;
      const binary = Buffer.from(Array.from({ length: 256 }, (_, n) => n)).toString("base64");
      await Promise.all(
        methods.map(async (method) => {
          const ok = await call(address, method, {
            messages,
            metadata: { "echo-a": "b", "echo-x-bin": binary, "trail-c": "d", "trail-y-bin": "AP8=" },
            deadlineMs: 20_000,
          });
          t.match(
            ok,
            {
              status: 0,
              sha256: replies[method],
              headers: { "echo-a": "b", "echo-x-bin": binary },
              trailers: { "trail-c": "d", "trail-y-bin": "AP8=" },
            },
            method,
          );
          const seenMs = Number(ok.trailers["seen-deadline-ms"]);
          t.ok(seenMs > 5000 && seenMs <= 20_000, `${method}: of 20,000 ms the server saw ${seenMs}`);
        }),
      );
      const details = "half ½ of 100 %, and a\ttab";
      const failed = await call(address, "Duplex", {
        messages,
        metadata: { "want-status": "9", "want-message-bin": Buffer.from(details).toString("base64") },
      });
      t.match(failed, { status: 9, details, count: 3 }, "a status with its text after messages, in trailers");
      const only = await call(address, "Unary", {
        metadata: {
          "want-status": "5",
          "want-message-bin": Buffer.from(details).toString("base64"),
          "trail-c": "d",
        },
      });
      t.match(
        only,
        { status: 5, details, count: 0, trailers: { "trail-c": "d" } },
        "and without any message",
      );
      const size = 4 * 1024 * 1024 + 1;
      const big = await call(address, "Unary", { size });
      t.match(
        [big.status, big.bytes, big.sha256],
        [0, size, sha256(patternOf(size))],
        "a message of 4 MiB + 1",
      );
      const many = await call(address, "ServerStream", {
        metadata: { "want-count": "2000", "want-size": "1000" },
      });
      t.match(
        [many.status, many.count, many.sha256],
        [0, 2000, sha256(...Array<Buffer>(2000).fill(patternOf(1000)))],
        "a stream of many messages",
      );
      const up = await call(address, "Duplex", { size: 10_000, count: 500 });
      t.match([up.status, up.count, up.bytes], [0, 500, 5_000_000], "in both directions");
      const late = await call(address, "Unary", { metadata: { "want-silence": "1" }, deadlineMs: 300 });
      t.equal(late.status, 4, `a deadline that passes: ${statusName(late.status)}`);
      const gone = await call(address, "ServerStream", {
        metadata: { "want-count": "100000", "want-size": "1000" },
        cancelAfter: 3,
      });
      t.equal(gone.status, 1);
    });

t.test("a cancel reaches the application, from either client", async (t) => {
  const boundMs = 100 * (await machinePace());
  const metadata = { "want-silence": "1", "want-headers": "1" };
  const silent = () => jsServer.calls.filter((seen) => seen.metadata.get("want-silence").length > 0);
  const client = new GrpcEchoClient(at("js"));
  t.teardown(() => client.close());
  for (const method of ["Unary", "Duplex"] as const) {
    const known = silent().length;
    const call = client.start(method, [Buffer.from("x")], { metadata });
    const seen = await until("the call", () => silent()[known]);
    const startMs = performance.now();
    call.cancel();
    await until("the cancel", () => seen.outcome === "cancelled");
    const tookMs = performance.now() - startMs;
    t.ok(tookMs < boundMs, `${method}: ${Math.round(tookMs)} ms`);
    t.equal((await call.outcome).status, 1);
  }
  if (!hasPython) return;
  const known = silent().length;
  const [ended] = await pythonCalls(at("js"), "Unary", { metadata, cancelAfterMs: 300 });
  t.equal(ended?.status, 1);
  await until("the cancel of the C core", () => silent()[known]?.outcome === "cancelled");
});

t.test("time limits of the mesh lower the caller's deadline, and end the call", async (t) => {
  await mesh.apply(
    `${policy("mute", "timeouts: { request: 500ms }")}---${policy("js", "timeouts: { request: 5s }")}`,
  );
  for (const [name, call] of Object.entries(clients)) {
    await until("the limit", async () => {
      const { trailers } = await call(at("js"), "Unary", { deadlineMs: 20_000 });
      return Number(trailers["seen-deadline-ms"]) <= 5000;
    });
    // Whichever sidecar's timer is first.
    const late = await call(at("mute"), "Unary", { deadlineMs: 20_000 });
    t.match(late, { status: 4, details: /timer=(route, value=500ms|grpc-timeout, value=49)/ }, name);
    t.match(late.trailers, { "x-remora-error": "route_timeout" });
  }
  for (const service of ["js", "mute"]) await mesh.remora(["delete", "trafficpolicy", service]);
});

/** What a caller gets on the wire. */
async function raw(port: number): Promise<{
  readonly headers: http2.IncomingHttpHeaders & http2.IncomingHttpStatusHeader;
  readonly hasEnded: boolean;
  readonly trailers: boolean;
}> {
  const session = http2.connect(`http://127.0.0.1:${port}`);
  try {
    const stream = session.request({
      ":method": "POST",
      ":path": `/${echoService}/Unary`,
      "content-type": "application/grpc",
      te: "trailers",
    });
    stream.end(Buffer.alloc(5));
    let trailers = false;
    stream.on("trailers", () => (trailers = true));
    return await new Promise((resolve, reject) => {
      stream.on("error", reject);
      stream.on("response", (headers, flags) => {
        stream.resume().on("close", () => resolve({ headers, hasEnded: (flags & 1) === 1, trailers }));
      });
    });
  } finally {
    session.destroy();
  }
}

t.test("what a sidecar answers itself is a status of gRPC, without a body", async (t) => {
  const expectAll = async (service: string, status: number, error: string, what: string): Promise<void> => {
    for (const [name, call] of Object.entries(clients)) {
      const ended = await call(at(service), "Unary", { deadlineMs: 10_000 });
      t.match(ended, { status, trailers: { "x-remora-error": error } }, `${what}: ${name}`);
      t.ok(ended.details.length > 0, ended.details);
    }
    const { headers, hasEnded, trailers } = await raw(web.upstreams.get(service) ?? 0);
    t.match(headers, { ":status": 200, "content-type": "application/grpc", "grpc-status": `${status}` });
    t.ok(hasEnded, `${what}: END_STREAM on the only HEADERS frame`);
    t.notOk(trailers, "and nothing after it");
  };
  await expectAll("ghost", 14, "no_healthy_endpoint", "no instance");
  closeMute();
  await expectAll("mute", 14, "connect_failed", "the application is down");

  await mesh.apply(policy("js", "connectionPool: { maxRequests: 1 }"));
  const client = new GrpcEchoClient(at("js"));
  t.teardown(() => client.close());
  const known = jsServer.calls.length;
  const silent = client.start("Duplex", [], { metadata: { "want-silence": "1", "want-headers": "1" } });
  await until("the only call", () => jsServer.calls.length > known);
  await until("the limit", async () => (await client.call("Unary")).status === 14);
  await expectAll("js", 14, "concurrency_limit", "too many calls");
  silent.cancel();
  await silent.outcome;
  await mesh.remora(["delete", "trafficpolicy", "js"]);

  await mesh.apply(
    route(
      "js",
      `{ matches: [{ method: { service: ${echoService}, method: Duplex } }], backendRefs: [{ name: js }] }`,
    ),
  );
  await until("the route", async () => (await client.call("Unary")).status === 12);
  await expectAll("js", 12, "no_route", "no rule matches");
  t.equal((await client.call("Duplex")).status, 0, "the method that has a rule");
  await mesh.remora(["delete", "grpcroute", "js"]);
  await until("no route", async () => (await client.call("Unary")).status === 0);
});

t.test("fallbacks and faults answer calls in the form of gRPC", async (t) => {
  const fault = `fault: { abort: { grpcStatus: RESOURCE_EXHAUSTED }, match: { headers: [{ name: x-user, value: tester }] },
    expires: ${new Date(Date.now() + 3_600_000).toISOString()} }`;
  await mesh.apply(
    [
      policy(
        "ghost",
        "fallback: { reply: { status: 202, grpcStatus: NOT_FOUND, grpcMessage: none is left } }",
      ),
      policy("mute", "fallback: { on: [connect-failure, no-endpoint], service: { name: js } }"),
      policy("js", fault),
    ].join("---"),
  );
  for (const [name, call] of Object.entries(clients)) {
    const ended = await until("the reply", async () => {
      const seen = await call(at("ghost"), "Unary", { deadlineMs: 10_000 });
      return seen.status === 5 ? seen : undefined;
    });
    t.match(ended, { status: 5, details: "none is left", count: 0 }, `a fixed reply: ${name}`);
    t.equal(ended.trailers["x-remora-fallback"] ?? ended.headers["x-remora-fallback"], "reply", name);
    // Nobody accepts connections there any more.
    const other = await call(at("mute"), "Unary", { messages: ["one"], deadlineMs: 10_000 });
    t.match(other, { status: 0, sha256: sha256("one") }, `another service: ${name} ${other.details}`);
    t.equal(other.headers["x-remora-fallback"], "service", name);

    const metadata = { "x-user": "tester" };
    const before = jsServer.calls.length;
    const aborted = await call(at("js"), "Unary", { metadata, deadlineMs: 10_000 });
    t.match(aborted, { status: 8, trailers: { "x-remora-fault": "abort" } }, `a fault: ${name}`);
    t.equal(jsServer.calls.length, before, "the application did not see it");
    t.equal((await call(at("js"), "Unary", { deadlineMs: 10_000 })).status, 0, "nobody else is hit");
  }
  for (const service of ["ghost", "mute", "js"]) await mesh.remora(["delete", "trafficpolicy", service]);
});

t.test("callers check the health of instances by grpc.health.v1", async (t) => {
  const check = "{ grpc: {}, interval: 300ms, timeout: 300ms, unhealthyThreshold: 1, healthyThreshold: 1 }";
  await mesh.apply(
    policy("trio", `protocol: grpc, healthChecks: [${check}], outlierDetection: { consecutive5xx: 0 }`),
  );
  const healthy = (): Promise<number> =>
    metric(web.admin, "envoy_cluster_health_check_healthy", { envoy_cluster_name: "trio.default" });
  await until("three healthy instances", async () => (await healthy()) === 3);
  trio[1]?.setServing(false);
  await until("the ill instance to be known", async () =>
    (await ask({ port: web.admin, path: "/clusters" })).body.includes("/failed_active_hc (NOT_SERVING)"),
  );
  t.ok((await healthy()) < 3);
  const before = trio.map(({ calls }) => calls.length);
  const client = new GrpcEchoClient(at("trio"));
  t.teardown(() => client.close());
  for (let i = 0; i < 60; i++) t.equal((await client.call("Unary")).status, 0);
  const [first, ill, third] = trio.map(({ calls }, i) => calls.length - (before[i] ?? 0));
  t.equal(ill, 0, "nothing goes where the health check says no");
  t.equal((first ?? 0) + (third ?? 0), 60);
  trio[1]?.setServing(true);
  await until("three healthy instances again", async () => (await healthy()) === 3);
  await mesh.remora(["delete", "trafficpolicy", "trio"]);
});

t.test("calls are retried by the status of trailers-only replies", async (t) => {
  for (const service of Object.values(servers)) {
    await mesh.apply(policy(service, "retry: { on: [unavailable, resource-exhausted], attempts: 2 }"));
    const client = new GrpcEchoClient(at(service));
    t.teardown(() => client.close());
    let n = 0;
    const call = (status: number, failures: number) =>
      client.call("Unary", [Buffer.from("again")], {
        metadata: {
          "want-status": `${status}`,
          "fail-first": `${failures}`,
          "call-key": `${service} ${n++}`,
        },
      });
    await until("the policy", async () => (await call(8, 1)).status === 0);
    for (const status of [14, 8]) {
      const { status: ended, messages } = await call(status, 2);
      t.same([ended, messages.join()], [0, "again"], `${service}: ${statusName(status)} twice, then well`);
    }
    t.equal((await call(14, 3)).status, 14, "attempts are used up");
    t.equal((await call(13, 1)).status, 13, "a status that is not named is final");
    await mesh.remora(["delete", "trafficpolicy", service]);
  }
  t.ok(
    (await metric(web.admin, "envoy_cluster_upstream_rq_retry", { envoy_cluster_name: "js.default" })) >= 5,
  );
});

t.test("health checks pass, one by one and as a stream", async (t) => {
  const client = new GrpcEchoClient(at("js"));
  t.teardown(() => client.close());
  t.ok(await client.check());
  const seen: boolean[] = [];
  const watch = client.watch(seen);
  await until("the first answer", () => seen.length === 1);
  jsServer.setServing(false);
  await until("the change", () => seen.length === 2);
  t.notOk(await client.check());
  jsServer.setServing(true);
  await until("the change back", () => seen.length === 3);
  t.same(seen, [true, false, true]);
  watch.cancel();
  await until("the end of the watch", () => jsServer.watchers === 0);
});

t.test(
  "GRPCRoutes direct calls while they come, by method, header and weight",
  { skip: noPython },
  async (t) => {
    const client = new GrpcEchoClient(at("js"));
    t.teardown(() => client.close());
    /** Of `count` calls, how many the Python server got. */
    const share = async (
      count: number,
      metadata: Record<string, string> = {},
      method: "Unary" | "Duplex" = "Unary",
    ) => {
      const key = `share-${Math.random()}`;
      const ended = await Promise.all(
        Array.from({ length: count }, () =>
          client.call(method, [Buffer.from("x")], { metadata: { ...metadata, "call-key": key } }),
        ),
      );
      t.ok(ended.every(({ status }) => status === 0));
      const own = jsServer.calls.filter((seen) => seen.metadata.get("call-key")[0] === key).length;
      return count - own;
    };
    t.equal(await share(10), 0);
    await mesh.apply(
      route(
        "js",
        `{ matches: [{ headers: [{ name: x-user, value: beta }] }], backendRefs: [{ name: python }] },
       { matches: [{ method: { service: ${echoService}, method: Duplex } }], backendRefs: [{ name: python }] },
       { backendRefs: [{ name: js, weight: 80 }, { name: python, weight: 20 }] }`,
      ),
    );
    await until("the route", async () => (await share(1, {}, "Duplex")) === 1);
    t.equal(await share(20, {}, "Duplex"), 20, "by method");
    t.equal(await share(20, { "x-user": "beta" }), 20, "by header");
    const part = await share(1000);
    t.ok(part > 140 && part < 260, `20 % of 1000 calls by weight: ${part}`);
    await mesh.apply(route("js", `{ backendRefs: [{ name: js, weight: 0 }, { name: python }] }`));
    await until("the new weights", async () => (await share(5)) === 5);
    await mesh.remora(["delete", "grpcroute", "js"]);
    await until("no route", async () => (await share(5)) === 0);
  },
);

t.test("each call is balanced, also those of one connection", async (t) => {
  await mesh.apply(policy("trio", "loadBalancer: { policy: round_robin }"));
  const client = new GrpcEchoClient(at("trio"));
  t.teardown(() => client.close());
  const served = (): number[] => trio.map(({ calls }) => calls.length);
  await until("round robin", async () => {
    const before = served();
    for (let n = 0; n < 6; n++) await client.call("Unary");
    return served().every((count, i) => count - (before[i] ?? 0) === 2);
  });
  const before = served();
  const count = 900;
  let left = count;
  const statuses = new Map<number, number>();
  await Promise.all(
    Array.from({ length: 16 }, async () => {
      while (left-- > 0) {
        const { status } = await client.call("Unary", [Buffer.from("x")]);
        statuses.set(status, (statuses.get(status) ?? 0) + 1);
      }
    }),
  );
  t.same([...statuses], [[0, count]]);
  for (const [i, all] of served().entries()) {
    const own = all - (before[i] ?? 0);
    t.ok(Math.abs(own - count / 3) <= count / 30, `${names[i] ?? ""}: ${own} of ${count}`);
  }
});

t.test("no call is lost when an application or a sidecar goes", async (t) => {
  const client = new GrpcEchoClient(at("trio"));
  t.teardown(() => client.close());
  const ratePerSecond = 200;
  const failures: string[] = [];
  const pending = new Set<Promise<unknown>>();
  let sent = 0;
  const startMs = performance.now();
  const timer = setInterval(() => {
    for (; sent < ((performance.now() - startMs) / 1000) * ratePerSecond; sent++) {
      const call = client.call("Unary", [Buffer.from(`${sent}`)], { deadlineMs: 10_000 }).then((ended) => {
        if (ended.status !== 0)
          failures.push(`${Math.round(performance.now() - startMs)} ms: ${ended.status} ${ended.details}`);
      });
      pending.add(call);
      void call.finally(() => pending.delete(call));
    }
  }, 5);
  t.teardown(() => clearInterval(timer));
  await sleep(300);
  // An instance leaves with its sidecar.
  t.match(await three[1]?.process.stop(), { code: 0 });
  // An application is updated in place: GOAWAY, nobody at its port, its successor.
  await mesh.apply(policy("trio", "loadBalancer: { policy: round_robin }, retry: { attempts: 2 }"));
  await sleep(300);
  await trio[0]?.drain();
  await sleep(200);
  trio[0] = await GrpcEchoServer.start(three[0]?.app);
  await until("calls at the successor", () => (trio[0]?.calls.length ?? 0) > 20);
  clearInterval(timer);
  await Promise.all(pending);
  t.ok(sent > ratePerSecond * 1.5, `${sent} calls`);
  t.same(failures, []);
});

t.test("metrics tell gRPC calls by their status", async (t) => {
  const labels = {
    request_protocol: "grpc",
    destination_workload: "js",
    connection_security_policy: "mutual_tls",
  };
  for (const status of ["0", "5", "9"]) {
    const ended = { ...labels, grpc_response_status: status, response_code: "200" };
    t.ok((await metric(web.admin, "istio_requests_total", { ...ended, reporter: "source" })) > 0);
    t.ok((await metric(js.admin, "istio_requests_total", { ...ended, reporter: "destination" })) > 0);
  }
  const own = { ...labels, reporter: "source", connection_security_policy: "none" };
  t.equal(await metric(web.admin, "istio_requests_total", own), 0, "nothing in plaintext");
});
