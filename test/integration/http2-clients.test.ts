// # runs beside others
/**
 * Real processes: HTTP clients that share no code with Remora (nghttp, h2load, curl, openssl, raw bytes) through two sidecars to
 * applications of HTTP/1.1 and HTTP/2 (Node's, python3-h2), and at the mTLS port of a sidecar.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import http from "node:http";
import http2 from "node:http2";
import net from "node:net";
import path from "node:path";
import t from "tap";
import { program, run, skipWithout } from "../support/brokers.js";
import { metric, startMesh, type Running } from "../support/cli-mesh.js";
import { pythonWith, skipWithoutPython } from "../support/python.js";
import { connect } from "../support/raw-client.js";
import { until } from "../support/until.js";

const noPython = skipWithoutPython("h2");
const mesh = await startMesh(t);

/** A sidecar for an application that `start` brings up at its port. */
async function join(
  service: string,
  protocol: string,
  start: (port: number) => Promise<unknown>,
): Promise<Running> {
  const place = await mesh.place({ name: service, service, command: [], flags: ["--protocol", protocol] });
  await start(place.app);
  return { ...place, process: mesh.run(place) };
}

const listen = (server: net.Server, port: number): Promise<unknown> =>
  once(server.listen(port, "127.0.0.1"), "listening");

/** Replies with what it was sent: head as JSON, body, trailers in a trailer. */
const http1App = http.createServer((request, response) => {
  const { method, url, headers } = request;
  response.writeHead(200, {
    "x-head": JSON.stringify({ method, url, headers }),
    ...(method === "HEAD" ? {} : { trailer: "x-trailers" }),
  });
  response.flushHeaders();
  request.on("data", (chunk: Buffer) => response.write(chunk));
  request.on("end", () => {
    if (method !== "HEAD") response.addTrailers({ "x-trailers": JSON.stringify(request.trailers) });
    response.end();
  });
});
const http2App = http2.createServer();
http2App.on("stream", (stream, headers) => {
  let trailers: object = {};
  stream.on("trailers", (received: http2.IncomingHttpHeaders) => (trailers = { ...received }));
  stream.on("error", () => undefined);
  stream.respond({ ":status": 200, "x-head": JSON.stringify(headers) }, { waitForTrailers: true });
  stream.on("wantTrailers", () => stream.sendTrailers({ "x-trailers": JSON.stringify(trailers) }));
  if (headers[":method"] === "HEAD") stream.close();
  else stream.pipe(stream);
});
/** Keeps what it is sent, and answers in a case of its own. */
const rawReceived: string[] = [];
const rawApp = net.createServer((socket) => {
  let text = "";
  socket.on("error", () => undefined);
  socket.on("data", (chunk) => {
    text += chunk.toString("latin1");
    if (!text.endsWith("\r\n\r\n")) return;
    rawReceived.push(text);
    text = "";
    socket.write('HTTP/1.1 200 Very Well\r\nX-MiXeD-CaSe: KePt\r\nETag: "a"\r\nContent-Length: 2\r\n\r\nok');
  });
});

async function startPython(port: number): Promise<void> {
  const script = path.resolve(import.meta.dirname, "../../../test/support/h2_peer.py");
  const child = spawn(pythonWith("h2"), [script, `${port}`], { stdio: ["pipe", "ignore", "inherit"] });
  t.teardown(() => child.stdin.end());
  await until("h2_peer.py", async () => {
    const socket = net.connect(port, "127.0.0.1");
    await once(socket, "connect");
    return socket.destroy();
  });
}

const [web, h1, h2, raw, python] = await Promise.all([
  mesh.join({ name: "web", service: "web", upstreams: ["h1", "h2", "raw", "python"] }),
  join("h1", "http", (port) => listen(http1App, port)),
  join("h2", "http2", (port) => listen(http2App, port)),
  join("raw", "http", (port) => listen(rawApp, port)),
  noPython === false ? join("python", "http2", startPython) : undefined,
]);
const sessions = new Set<http2.ServerHttp2Session>();
http2App.on("session", (session) => sessions.add(session));
t.teardown(() => {
  http1App.close().closeAllConnections();
  http2App.close();
  for (const session of sessions) session.destroy();
  rawApp.close();
});
await mesh.untilKnown(web, "h1", [h1]);
await mesh.untilKnown(web, "h2", [h2]);
await mesh.untilKnown(web, "raw", [raw]);
if (python !== undefined) await mesh.untilKnown(web, "python", [python]);
const port = (service: string): number => web.upstreams.get(service) ?? 0;
const url = (service: string, target = "/"): string => `http://127.0.0.1:${port(service)}${target}`;

t.test(
  "nghttp: heads, bodies, trailers and the end of each stream",
  { skip: skipWithout("nghttp") },
  async (t) => {
    const file = path.join(mesh.dir, "body");
    await writeFile(file, "a body");
    for (const service of ["h1", "h2"]) {
      const sent = await run("nghttp", [
        ...["-nv", "-d", file, "--trailer", "x-sum: 17", "-H", "x-a: b", url(service, "/trailers?q=1")],
      ]);
      t.match(sent, /recv \(stream_id=\d+\) :status: 200/, service);
      // nghttp gives a length, and HTTP/1.1 has no trailers then (RFC 9112 §7.1.2).
      const arrived = service === "h2" ? '{"x-sum":"17"}' : "{}";
      t.match(
        sent,
        `) x-trailers: ${arrived}
`,
        "trailers arrive, and those of the reply",
      );
      t.match(sent, /x-head: .*"x-a":"b"/);
      // Head, DATA, and trailers that alone end the stream.
      const frames = [...sent.matchAll(/recv (HEADERS|DATA) frame <length=(\d+), flags=(0x\w+)/g)].map(
        ([, type, length, flags]) => ({ type, length: Number(length), isLast: (Number(flags) & 1) === 1 }),
      );
      t.same(
        frames
          .map(({ type, isLast }) => [type, isLast])
          .filter(([type, isLast]) => type !== "DATA" || isLast),
        [
          ["HEADERS", false],
          ["HEADERS", true],
        ],
        "END_STREAM comes with the trailers, and once",
      );
      t.equal(
        frames.reduce((sum, { type, length }) => sum + (type === "DATA" ? length : 0), 0),
        "a body".length,
      );
      const head = await run("nghttp", ["-nv", "-H", ":method: HEAD", url(service)]);
      t.match(head, /recv \(stream_id=\d+\) :status: 200/);
      t.notMatch(head, /recv DATA frame <length=[1-9]/, `${service}: HEAD has no body`);
    }
  },
);

t.test("h2load: thousands of requests, none fails", { skip: skipWithout("h2load") }, async (t) => {
  const count = 2000;
  for (const [service, flags] of [
    ["h1", ["-m", "32"]],
    ["h2", ["-m", "32"]],
    ["h2", ["--h1"]],
  ] as const) {
    const said = await run("h2load", ["-n", `${count}`, "-c", "4", ...flags, url(service)]);
    t.match(said, `${count} succeeded, 0 failed, 0 errored, 0 timeout`, `${service} ${flags.join(" ")}`);
    t.match(said, `status codes: ${count} 2xx`);
  }
  for (const service of ["h1", "h2"]) {
    const cluster = { envoy_cluster_name: `${service}.default` };
    const opened = await metric(web.admin, "envoy_cluster_upstream_cx_http2_total", cluster);
    t.ok(
      opened > 0 && opened <= 16,
      `${opened} connections of HTTP/2 carried 128 requests at once to ${service}`,
    );
    t.equal(await metric(web.admin, "envoy_cluster_upstream_cx_http1_total", cluster), 0);
  }
});

t.test(
  "curl: HTTP/1.1 and HTTP/2 on one port, to every application",
  { skip: skipWithout("curl") },
  async (t) => {
    const big = path.join(mesh.dir, "big");
    const bytes = Buffer.alloc(1_000_001, "0123456789abcdef");
    await writeFile(big, bytes);
    const services = ["h1", "h2", ...(python === undefined ? [] : ["python"])];
    for (const service of services)
      for (const [flag, version] of [
        ["--http1.1", "1.1"],
        ["--http2-prior-knowledge", "2"],
      ] as const) {
        const curl = (...args: readonly string[]): Promise<string> =>
          run("curl", ["-sS", "--noproxy", "*", flag, ...args, url(service, "/curl")]);
        const name = `curl ${flag} to ${service}`;
        const said = await curl(
          "-i",
          "-w",
          "\n%{http_version} %{http_code}",
          "-H",
          "X-Own: 1",
          "-d",
          "hello",
        );
        t.match(said, new RegExp(`\nhello\n?[^]*\n${version.replace(".", "\\.")} 200$`), name);
        t.match(said.toLowerCase(), "x-own", "its header arrived");
        const sent = await curl(
          "-T",
          big,
          "-w",
          "%{size_upload} %{size_download} %{http_code}",
          "-o",
          `${big}.back`,
        );
        t.equal(sent, `${bytes.length} ${bytes.length} 200`, `${name}: 1 MB there and back`);
        if (service !== "python") t.match(await curl("-I"), /^HTTP\/[\d.]+ 200/, `${name}: HEAD`);
      }
  },
);
if (python === undefined) t.pass("an application on python3-h2", { skip: noPython });

t.test(
  "foreign mTLS peers are served in the protocol they choose",
  { skip: skipWithout("curl", "openssl") },
  async (t) => {
    const out = path.join(mesh.dir, "outsider");
    const { keyFile: key, certFile: cert, bundleFile: bundle } = await mesh.issue("outsider", out);
    for (const { inbound, service } of [h1, h2])
      for (const [flag, version] of [
        ["--http1.1", "1.1"],
        ["--http2", "2"],
      ] as const) {
        // The certificate names a SPIFFE id and no host: curl's own check of the name does not fit.
        const said = await run("curl", [
          ...["-sSik", "--noproxy", "*", flag, "--cert", cert, "--key", key, "-w", "\n%{http_version}"],
          `https://127.0.0.1:${inbound}/foreign`,
        ]);
        t.match(
          said,
          new RegExp(`\n${version.replace(".", "\\.")}$`),
          `curl ${flag} to the sidecar of ${service}`,
        );
        t.match(said, "spiffe://mesh.local/ns/default/svc/outsider", "the application is told who calls");
      }
    const client = ["-connect", `127.0.0.1:${h1.inbound}`, "-cert", cert, "-key", key, "-CAfile", bundle];
    const request = "GET /openssl HTTP/1.1\r\nhost: h1\r\nconnection: close\r\n\r\n";
    for (const alpn of ["http/1.1", "h2", ""]) {
      const flags = alpn === "" ? [] : ["-alpn", alpn];
      const said = await run(
        "openssl",
        ["s_client", ...client, "-verify_return_error", "-ign_eof", ...flags],
        alpn === "h2" ? "not a preface, and so the end of it\r\n\r\n" : request,
      );
      t.match(said, alpn === "" ? "No ALPN negotiated" : `ALPN protocol: ${alpn}`);
      t.match(said, "Verify return code: 0 (ok)", "the sidecar's chain ends in the mesh's root");
      if (alpn !== "h2")
        t.match(said, /HTTP\/1\.1 200 OK/, `HTTP/1.1 after ALPN ${alpn || "that is absent"}`);
    }
  },
);

t.test("HTTP/1.1 header names arrive in the case they were written in, over the HTTP/2 hop", async (t) => {
  const lines = [
    "GET /Case?A=b HTTP/1.1",
    `Host: 127.0.0.1:${port("raw")}`,
    "X-MiXeD: One",
    "user-agent: lower",
    "ACCEPT: */*",
    "X-Twice: 1",
    "x-twice: 2",
    "X-Empty: ",
    "Cookie: a=1; B=2",
  ];
  const client = connect(t, port("raw"));
  client.write(`${lines.join("\r\n")}\r\n\r\n`);
  const reply = await client.gets("\r\n\r\nok");
  t.match(reply, /^HTTP\/1\.1 200 /);
  t.match(reply, '\r\nX-MiXeD-CaSe: KePt\r\nETag: "a"\r\nContent-Length: 2\r\n');
  const received = (rawReceived.at(-1) ?? "").split("\r\n");
  const own = received.filter((line) => !/^(x-request-id|x-remora-|x-forwarded-client-cert)/.test(line));
  t.same(own, [...lines, "", ""], "byte for byte what the client wrote, beside what the mesh adds");
  t.notMatch(received.join("\n"), /x-remora-case/i);
  t.ok(
    (await metric(web.admin, "envoy_cluster_upstream_cx_http2_total", {
      envoy_cluster_name: "raw.default",
    })) > 0,
    "by HTTP/2",
  );
});
if (program("nghttp") === undefined) t.comment("run test/support/install-peers.sh clients for all of it");
