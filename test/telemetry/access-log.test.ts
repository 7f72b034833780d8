import { execFileSync } from "node:child_process";
import { once } from "node:events";
import {
  closeSync,
  constants,
  createReadStream,
  open as openFile,
  openSync,
  readFileSync,
  readSync,
} from "node:fs";
import path from "node:path";
import { promisify } from "node:util";
import fc from "fast-check";
import t from "tap";
import { formatJson, formatText, type AccessLogEntry } from "../../src/telemetry/access-log-format.js";
import { openAccessLog } from "../../src/telemetry/access-log.js";
import { Counter } from "../../src/telemetry/cells.js";
import { LineWriter } from "../../src/telemetry/line-writer.js";
import { FakeClock } from "../support/fake-clock.js";

const entry: AccessLogEntry = {
  startWallMs: Date.UTC(2026, 0, 2, 3, 4, 5, 6),
  method: "GET",
  path: "/items?q=1",
  protocol: "HTTP/1.1",
  status: 200,
  grpcStatus: 14,
  flags: "-",
  codeDetails: "via_upstream",
  upstreamFailure: "",
  bytesReceived: 12,
  bytesSent: 3456,
  durationMs: 7.6,
  upstreamServiceMs: 6.2,
  forwardedFor: "10.0.0.1",
  userAgent: "curl/8.0",
  requestId: "abc-1",
  authority: "api:8080",
  upstreamHost: "10.0.0.2:20000",
  upstreamCluster: "api.default",
  upstreamLocalAddress: "10.0.0.9:40000",
  downstreamLocalAddress: "127.0.0.1:9001",
  downstreamRemoteAddress: "127.0.0.1:55555",
  serverName: "",
  routeName: "default",
  peerId: "spiffe://mesh.local/ns/default/svc/web",
  authorization: "would_deny[implicit-deny]",
};

const empty: AccessLogEntry = {
  ...entry,
  status: 0,
  grpcStatus: -1,
  flags: "DC",
  codeDetails: "client_gone",
  bytesReceived: 0,
  bytesSent: 0,
  durationMs: 0.4,
  upstreamServiceMs: -1,
  forwardedFor: "",
  userAgent: "",
  requestId: "",
  upstreamHost: "",
};

t.test("text is Envoy's default format", async (t) => {
  t.equal(
    formatText(entry),
    '[2026-01-02T03:04:05.006Z] "GET /items?q=1 HTTP/1.1" 200 - 12 3456 8 6 "10.0.0.1" "curl/8.0" "abc-1" "api:8080" "10.0.0.2:20000"\n',
  );
  t.equal(
    formatText(empty),
    '[2026-01-02T03:04:05.006Z] "GET /items?q=1 HTTP/1.1" 0 DC 0 0 0 - "-" "-" "-" "api:8080" "-"\n',
  );
});

t.test("JSON has Istio's and Consul's field names", async (t) => {
  t.same(JSON.parse(formatJson(entry)), {
    start_time: "2026-01-02T03:04:05.006Z",
    method: "GET",
    path: "/items?q=1",
    protocol: "HTTP/1.1",
    response_code: 200,
    grpc_status: 14,
    response_flags: "-",
    response_code_details: "via_upstream",
    connection_termination_details: null,
    upstream_transport_failure_reason: null,
    bytes_received: 12,
    bytes_sent: 3456,
    duration: 8,
    upstream_service_time: 6,
    x_forwarded_for: "10.0.0.1",
    user_agent: "curl/8.0",
    request_id: "abc-1",
    authority: "api:8080",
    upstream_host: "10.0.0.2:20000",
    upstream_cluster: "api.default",
    upstream_local_address: "10.0.0.9:40000",
    downstream_local_address: "127.0.0.1:9001",
    downstream_remote_address: "127.0.0.1:55555",
    requested_server_name: null,
    route_name: "default",
    downstream_peer_uri_san: "spiffe://mesh.local/ns/default/svc/web",
    authorization: "would_deny[implicit-deny]",
  });
  t.match(JSON.parse(formatJson(empty)), {
    grpc_status: null,
    user_agent: null,
    upstream_service_time: null,
    duration: 0,
  });
});

t.test("nothing that a client sends forges a line or reaches a terminal", async (t) => {
  const evil = {
    ...entry,
    path: '/a"b\\c',
    userAgent: 'x" 200 - "\n[2026] "GET /fake\u001b[31m\u009b31m\u007f\u0000\t\u00c3\u00a9',
  };
  t.equal(
    formatText(evil).split('"')[5],
    "x\\x22 200 - \\x22\\x0A[2026] \\x22GET /fake\\x1B[31m\\x9B31m\\x7F\\x00\\x09\\xC3\\xA9",
  );
  t.match(formatText(evil), /"GET \/a\\x22b\\x5Cc HTTP\/1\.1"/);
  t.equal(JSON.parse(formatJson({ ...entry, userAgent: "\u00c3\u00a9" })).user_agent, "é", "UTF-8 is read");
  t.ok(formatText({ ...entry, userAgent: "x".repeat(60_000) }).length < 9000, "fields have a bound");
  const text = fc.string({ unit: "binary", maxLength: 50 });
  fc.assert(
    fc.property(text, text, text, text, (userAgent, target, authority, requestId) => {
      const hostile = { ...entry, userAgent, path: target, authority, requestId, forwardedFor: userAgent };
      const line = formatText(hostile);
      if (!/^[\x20-\x7e]+\n$/.test(line)) throw new Error(`text: ${JSON.stringify(line)}`);
      if (line.split('"').length !== 13) throw new Error(`fields: ${line}`);
      const json = formatJson(hostile);
      if (/[\x00-\x1f\x7f-\x9f\u2028\u2029]/.test(json.slice(0, -1))) throw new Error(`json: ${json}`);
      JSON.parse(json);
    }),
    { numRuns: 2000 },
  );
});

/** Turns of the event loop until it is true; writes end in the thread pool. */
async function until(isTrue: () => boolean): Promise<void> {
  const endMs = performance.now() + 5000;
  while (!isTrue()) {
    if (performance.now() > endMs) throw new Error("did not come true within 5 s");
    await new Promise((resolve) => setImmediate(resolve));
  }
}

t.test("lines are written in batches", async (t) => {
  const file = path.join(t.testdir(), "access.log");
  const clock = new FakeClock();
  const dropped = new Counter();
  const log = openAccessLog({ format: "text", path: file, clock, dropped });
  const content = (): string => readFileSync(file, "utf8");
  log?.write(entry);
  log?.write(empty);
  clock.advance(99);
  t.equal(content(), "", "not before 100 ms");
  clock.advance(1);
  await until(() => content() !== "");
  t.equal(content(), formatText(entry) + formatText(empty));
  t.equal(clock.pendingTimers, 0, "no timer without lines");
  const line = formatText(entry);
  const count = Math.ceil((64 * 1024) / line.length);
  for (let i = 0; i < count; i++) log?.write(entry);
  await until(() => content().length > count * line.length);
  t.pass("64 KiB do not wait for the timer");
  log?.write(entry);
  await log?.close();
  t.equal(content().split("\n").length, 2 + count + 1 + 1, "closing writes what waits");
  log?.write(entry);
  t.equal(dropped.value, 1, "a line after the end is lost and counted");
  await log?.close();
});

t.test("a stuck destination loses lines, not memory and not time", async (t) => {
  const fifo = path.join(t.testdir(), "fifo");
  execFileSync("mkfifo", [fifo]);
  const fd = openSync(fifo, constants.O_RDWR | constants.O_NONBLOCK);
  const reader = openSync(fifo, constants.O_RDONLY | constants.O_NONBLOCK);
  t.teardown(() => closeSync(reader));
  const clock = new FakeClock();
  const dropped = new Counter();
  const writer = new LineWriter(fd, clock, dropped);
  const total = 40_000;
  for (let i = 0; i < total; i++) writer.write(`${String(i).padStart(99, "0")}\n`);
  t.ok(dropped.value > total - 13_000, `${dropped.value} lines dropped beyond 1 MiB`);
  await until(() => clock.pendingTimers > 0);
  t.pass("waits while the pipe is full");
  // Somebody reads again: what waited arrives in order and complete.
  let text = "";
  const buffer = Buffer.alloc(64 * 1024);
  const kept = total - dropped.value;
  await until(() => {
    try {
      text += buffer.toString("latin1", 0, readSync(reader, buffer));
    } catch {
      clock.advance(100); // empty for now
    }
    return text.length === kept * 100;
  });
  const lines = text.trimEnd().split("\n").map(Number);
  t.equal(lines.length, kept);
  t.ok(
    lines.every((line, i) => i === 0 || line > (lines[i - 1] ?? 0)),
    "in order",
  );
  // Stuck again, for good: closing gives up after a second.
  for (let i = 0; i < 5000; i++) writer.write("x".repeat(99) + "\n");
  const before = dropped.value;
  const closed = writer.close();
  await until(() => clock.pendingTimers >= 2);
  clock.advance(1000);
  await closed;
  t.ok(dropped.value > before, "what was not written is counted");
  closeSync(fd); // given up with a write under way, so it was left open
});

t.test("several processes write whole lines to one pipe", async (t) => {
  const fifo = path.join(t.testdir(), "fifo");
  execFileSync("mkfifo", [fifo]);
  const read = createReadStream(fifo, "latin1");
  let text = "";
  read.on("data", (chunk) => (text += String(chunk)));
  const letters = ["a", "b"];
  const written = letters.map(async (letter) => {
    const clock = new FakeClock();
    const fd = await promisify(openFile)(fifo, constants.O_WRONLY);
    const dropped = new Counter();
    const writer = new LineWriter(fd, clock, dropped, 4096);
    for (let i = 0; i < 2000; i++) writer.write(`${letter.repeat(100 + (i % 200))}\n`);
    await writer.close();
    t.equal(dropped.value, 0);
  });
  await Promise.all(written);
  await once(read, "close");
  const lines = text.split("\n").slice(0, -1);
  t.equal(lines.length, 4000);
  t.same(lines.filter((line) => !/^(?:a+|b+)$/.test(line)).slice(0, 3), [], "no line within another one");
});

t.test("a full disk costs lines only; a bad path is the operator's mistake", async (t) => {
  const clock = new FakeClock();
  const dropped = new Counter();
  const log = openAccessLog({ format: "json", path: "/dev/full", clock, dropped });
  log?.write(entry);
  log?.write(entry);
  clock.advance(100);
  await until(() => dropped.value === 2);
  await log?.close();
  t.equal(openAccessLog({ format: "off", path: "/nowhere/x", clock, dropped }), undefined);
  t.throws(() => openAccessLog({ format: "json", path: "/nowhere/at/all", clock, dropped }), {
    name: "ConfigError",
    message: /^--access-log: access log \/nowhere\/at\/all cannot be opened .*ENOENT/,
  });
});
