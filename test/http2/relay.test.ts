/** Both sides of our HTTP/2 between a client and a server of node:http2. */
import { createHash } from "node:crypto";
import http2 from "node:http2";
import type { AddressInfo } from "node:net";
import tls from "node:tls";
import t, { type Test } from "tap";
import { makeCertificate } from "../support/make-certificate.js";
import { Http2Relay, type RelayOptions } from "../support/http2-relay.js";
import { eventually } from "../support/eventually.js";
import { pattern, patternSha256 } from "../support/byte-pattern.js";

type Handler = (stream: http2.ServerHttp2Stream, headers: http2.IncomingHttpHeaders) => void;

async function upstream(
  t: Test,
  handler: Handler,
  settings: http2.Settings = {},
): Promise<http2.Http2Server> {
  const server = http2.createServer({ settings });
  server.on("stream", (stream, headers) => {
    stream.on("error", () => {});
    handler(stream, headers);
  });
  const sessions = new Set<http2.ServerHttp2Session>();
  server.on("session", (session) => {
    sessions.add(session);
    session.on("error", () => {});
  });
  await new Promise<void>((resolve) => void server.listen(0, "127.0.0.1", resolve));
  t.teardown(() => {
    for (const session of sessions) session.destroy();
    server.close();
  });
  return server;
}

async function hop(
  t: Test,
  handler: Handler,
  options: Partial<RelayOptions> & { settings?: http2.Settings } = {},
): Promise<{ relay: Http2Relay; client: http2.ClientHttp2Session }> {
  const server = await upstream(t, handler, options.settings);
  const upstreamPort = (server.address() as AddressInfo).port;
  const relay = await Http2Relay.open(t, { upstreamPort, ...options });
  const client = http2.connect(`http://127.0.0.1:${relay.port}`);
  client.on("error", () => {});
  t.teardown(() => client.destroy());
  return { relay, client };
}

interface Answer {
  status: number;
  headers: http2.IncomingHttpHeaders;
  bytes: number;
  sha256: string;
  text: string;
  trailers: http2.IncomingHttpHeaders | undefined;
  informational: number[];
  error: NodeJS.ErrnoException | undefined;
  code: number;
}

function answer(stream: http2.ClientHttp2Stream): Promise<Answer> {
  return new Promise((resolve) => {
    const hash = createHash("sha256");
    const got: Answer = {
      status: 0,
      headers: {},
      bytes: 0,
      sha256: "",
      text: "",
      trailers: undefined,
      informational: [],
      error: undefined,
      code: 0,
    };
    stream.on("headers", (headers) => got.informational.push(Number(headers[":status"])));
    stream.on("response", (headers) => {
      got.status = Number(headers[":status"]);
      got.headers = headers;
    });
    stream.on("trailers", (trailers) => void (got.trailers = trailers));
    stream.on("data", (chunk: Buffer) => {
      got.bytes += chunk.length;
      hash.update(chunk);
      if (got.bytes < 2000) got.text += chunk.toString("latin1");
    });
    stream.on("error", (error) => void (got.error = error));
    stream.on("close", () => {
      got.sha256 = hash.digest("hex");
      got.code = stream.rstCode ?? 0;
      resolve(got);
    });
  });
}

function sendPattern(stream: NodeJS.WritableStream, count: number): void {
  let left = count;
  const more = (): void => {
    while (left > 0) {
      const chunk = pattern.subarray(0, Math.min(left, pattern.length));
      left -= chunk.length;
      if (!stream.write(chunk) && left > 0) return void stream.once("drain", more);
    }
    stream.end();
  };
  more();
}

const echo: Handler = (stream, headers) => {
  stream.respond({ ":status": 200, "x-method": String(headers[":method"]) });
  stream.pipe(stream);
};

t.test("bodies of many sizes arrive whole, both ways, on many streams at once", async (t) => {
  const { relay, client } = await hop(t, echo);
  const sizes = [0, 1, 1000, 16_383, 16_384, 16_385, 65_535, 65_536, 262_144, 262_145, 1_000_003, 5_000_000];
  const answers = await Promise.all(
    [...sizes, ...sizes, ...sizes].map((size) => {
      const stream = client.request({ ":method": "POST", ":path": `/${size}` });
      const got = answer(stream);
      sendPattern(stream, size);
      return got;
    }),
  );
  answers.forEach((got, i) => {
    const size = sizes[i % sizes.length] as number;
    t.match(got, { status: 200, bytes: size, sha256: patternSha256(size), code: 0 }, `${size} bytes`);
  });
  t.equal(relay.calls.active, 0);
  t.equal(relay.clients.length, 1);
  t.same(relay.limits, []);
  const sum = relay.requests.reduce((bytes, request) => bytes + request.requestBytes, 0);
  const total = 3 * sizes.reduce((bytes, size) => bytes + size, 0);
  t.equal(sum, total);
  t.equal(
    relay.requests.reduce((bytes, request) => bytes + request.responseBytes, 0),
    total,
  );
});

t.test("over TLS on both sides, with many bodies at once", async (t) => {
  const { pem: cert, keyPem: key } = makeCertificate();
  const server = http2.createSecureServer({ key, cert });
  server.on("stream", echo);
  await new Promise<void>((resolve) => void server.listen(0, "127.0.0.1", resolve));
  const relay = await Http2Relay.open(t, {
    upstreamPort: (server.address() as AddressInfo).port,
    dial: (port) =>
      tls.connect({ port, host: "127.0.0.1", ALPNProtocols: ["h2"], rejectUnauthorized: false }),
  });
  const front = tls.createServer({ key, cert, ALPNProtocols: ["h2"] }, (socket) => relay.take(socket));
  await new Promise<void>((resolve) => void front.listen(0, "127.0.0.1", resolve));
  const client = http2.connect(`https://127.0.0.1:${(front.address() as AddressInfo).port}`, {
    rejectUnauthorized: false,
  });
  client.on("error", () => {});
  t.teardown(() => {
    client.destroy();
    front.close();
    server.close();
  });
  const sizes = [0, 1, 16_384, 100_000, 1_000_003, 5_000_000];
  const answers = await Promise.all(
    [...sizes, ...sizes, ...sizes].map((size) => {
      const stream = client.request({ ":method": "POST", ":path": `/${size}` });
      const got = answer(stream);
      sendPattern(stream, size);
      return got;
    }),
  );
  answers.forEach((got, i) => {
    const size = sizes[i % sizes.length] as number;
    t.match(got, { status: 200, bytes: size, sha256: patternSha256(size), code: 0 }, `${size} bytes`);
  });
  t.equal(relay.calls.active, 0);
});

t.test("a thousand requests, a hundred at a time", async (t) => {
  const { relay, client } = await hop(t, (stream, headers) => {
    stream.respond({ ":status": 200 });
    stream.end(String(headers[":path"]));
  });
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < 1000) {
      const path = `/${next++}`;
      const got = await answer(client.request({ ":path": path }));
      if (got.text !== path || got.status !== 200) t.fail(`${path}: ${got.status} ${got.text}`);
    }
  };
  await Promise.all(Array.from({ length: 90 }, worker));
  t.equal(relay.calls.total, 1000);
  t.equal(relay.calls.active, 0);
  t.same(relay.errors, []);
});

t.test("heads without a body, trailers and interim responses", async (t) => {
  const { client } = await hop(t, (stream, headers) => {
    switch (headers[":path"]) {
      case "/trailers":
        stream.respond({ ":status": 200 }, { waitForTrailers: true });
        stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0", "x-sum": "abc" }));
        return void stream.end("body");
      case "/trailers-after-nothing":
        stream.respond({ ":status": 200 }, { waitForTrailers: true });
        stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "5" }));
        return void stream.end();
      case "/hints":
        stream.additionalHeaders({ ":status": 103, link: "</style.css>" });
        stream.respond({ ":status": 200 });
        return void stream.end("after");
      case "/head":
        return stream.respond({ ":status": 200, "content-length": "5" }, { endStream: true });
      case "/304":
        return stream.respond({ ":status": 304, "content-length": "5" }, { endStream: true });
      case "/204":
        return stream.respond({ ":status": 204 }, { endStream: true });
      default:
        stream.on("trailers", (trailers) => {
          stream.respond({ ":status": 200, "x-got": String(trailers["x-checksum"]) });
          stream.end();
        });
        stream.resume();
    }
  });
  const get = (path: string, method = "GET"): Promise<Answer> =>
    answer(client.request({ ":path": path, ":method": method }));
  t.match(await get("/trailers"), { text: "body", trailers: { "grpc-status": "0", "x-sum": "abc" } });
  t.match(await get("/trailers-after-nothing"), { bytes: 0, trailers: { "grpc-status": "5" }, code: 0 });
  t.match(await get("/hints"), { informational: [103], text: "after" });
  t.match(await get("/head", "HEAD"), { status: 200, bytes: 0, headers: { "content-length": "5" }, code: 0 });
  t.match(await get("/304"), { status: 304, bytes: 0, code: 0 });
  t.match(await get("/204"), { status: 204, bytes: 0, code: 0 });
  const upload = client.request({ ":method": "POST", ":path": "/up" }, { waitForTrailers: true });
  upload.on("wantTrailers", () => upload.sendTrailers({ "x-checksum": "77" }));
  upload.end("content");
  t.match(await answer(upload), { status: 200, headers: { "x-got": "77" } });
});

t.test("a client that resets its stream ends the upstream's; others live on", async (t) => {
  const reset: number[] = [];
  const { relay, client } = await hop(t, (stream, headers) => {
    stream.on("close", () => void reset.push(stream.rstCode ?? -1));
    if (headers[":path"] === "/fine") return void (stream.respond({ ":status": 200 }), stream.end("fine"));
    stream.respond({ ":status": 200 });
    stream.write("begun");
  });
  const waiting = client.request({ ":path": "/wait" });
  const got = answer(waiting);
  await new Promise((resolve) => waiting.once("data", resolve));
  waiting.close(http2.constants.NGHTTP2_CANCEL);
  await got;
  await eventually("the upstream saw it", () => reset.length === 1);
  t.same(reset, [http2.constants.NGHTTP2_CANCEL]);
  t.equal(relay.errors[0]?.code, "client_gone");
  t.match(await answer(client.request({ ":path": "/fine" })), { text: "fine" });
  t.equal(relay.clients.length, 1, "the connection was kept");
});

t.test("a client that goes away ends all of its streams", async (t) => {
  let open = 0;
  const { relay, client } = await hop(t, (stream) => {
    open++;
    stream.on("close", () => void open--);
    stream.respond({ ":status": 200 });
    stream.write("x");
  });
  for (let i = 0; i < 20; i++) client.request({ ":path": "/" }).on("error", () => {});
  await eventually("all are open", () => open === 20);
  client.destroy();
  await eventually("all are over", () => open === 0 && relay.calls.active === 0 && relay.closed === 1);
  t.same([...new Set(relay.errors.map((error) => error.code))], ["client_gone"]);
});

t.test("an upstream that resets", async (t) => {
  const { NGHTTP2_REFUSED_STREAM, NGHTTP2_INTERNAL_ERROR, NGHTTP2_NO_ERROR } = http2.constants;
  const { relay, client } = await hop(t, (stream, headers) => {
    switch (headers[":path"]) {
      case "/refused":
        return stream.close(NGHTTP2_REFUSED_STREAM);
      case "/before":
        return stream.close(NGHTTP2_INTERNAL_ERROR);
      case "/after":
        stream.respond({ ":status": 200 });
        return void stream.write("begun", () => stream.destroy(new Error("scripted")));
      default:
        // Complete without the upload.
        stream.respond({ ":status": 200 });
        stream.end("early");
        stream.on("finish", () => stream.close(NGHTTP2_NO_ERROR));
    }
  });
  const codes = (): string[] => relay.errors.splice(0).map((error) => error.code);
  t.equal((await answer(client.request({ ":path": "/refused" }))).status, 502);
  t.same(codes(), ["upstream_unprocessed"]);
  t.equal((await answer(client.request({ ":path": "/before" }))).status, 502);
  t.same(codes(), ["upstream_reset"]);
  const cut = await answer(client.request({ ":path": "/after" }));
  t.match(cut, { status: 200, code: NGHTTP2_INTERNAL_ERROR });
  t.same(codes(), ["upstream_truncated"]);
  const upload = client.request({ ":method": "POST", ":path": "/early" });
  upload.write(Buffer.alloc(100_000));
  t.match(await answer(upload), { status: 200, text: "early", code: 0 });
  t.same(codes(), []);
  t.equal(relay.clients.length, 1);
  t.equal(relay.calls.active, 0);
});

t.test("a refused upload: the whole answer arrives, the rest is not sent", async (t) => {
  const { relay, client } = await hop(t, (stream) => {
    stream.respond({ ":status": 413 });
    sendPattern(stream, 300_000);
  });
  const upload = client.request({ ":method": "POST", ":path": "/" });
  upload.write(Buffer.alloc(1_000_000));
  t.match(await answer(upload), { status: 413, bytes: 300_000, sha256: patternSha256(300_000) });
  await eventually("the call is over", () => relay.calls.active === 0);
  const next = client.request({ ":method": "POST", ":path": "/" });
  next.end();
  t.match(await answer(next), { status: 413 }, "and the connection goes on");
});

t.test("tunnels: extended CONNECT, ends of the two directions are independent", async (t) => {
  const { relay, client } = await hop(
    t,
    (stream, headers) => {
      if (headers[":path"] === "/no") return void (stream.respond({ ":status": 403 }), stream.end("denied"));
      stream.respond({ ":status": 200, "x-protocol": String(headers[":protocol"]) });
      stream.write("hello");
      let got = "";
      stream.on("data", (chunk: Buffer) => void (got += chunk.toString()));
      stream.on("end", () => stream.end(`bye ${got}`));
    },
    { settings: { enableConnectProtocol: true } },
  );
  await new Promise((resolve) => client.once("remoteSettings", resolve));
  t.equal(client.remoteSettings.enableConnectProtocol, true);
  const open = (path: string): http2.ClientHttp2Stream =>
    client.request(
      { ":method": "CONNECT", ":protocol": "websocket", ":scheme": "http", ":path": path },
      { endStream: false },
    );
  const stream = open("/chat");
  const got = answer(stream);
  await new Promise((resolve) => stream.once("data", resolve));
  stream.write("one ");
  stream.end("two");
  t.match(await got, {
    status: 200,
    text: "hellobye one two",
    code: 0,
    headers: { "x-protocol": "websocket" },
  });
  await eventually("the call is over", () => relay.calls.active === 0);
  t.same(relay.errors, []);
  const denied = open("/no");
  denied.write("early");
  t.match(await answer(denied), { status: 403, text: "denied" });
  const cut = open("/chat");
  const cutAnswer = answer(cut);
  await new Promise((resolve) => cut.once("data", resolve));
  cut.close(http2.constants.NGHTTP2_CANCEL);
  await cutAnswer;
  await eventually("reset is passed on", () => relay.calls.active === 0);
  t.equal(relay.errors[0]?.code, "client_gone");
});

t.test("an upstream without extended CONNECT", async (t) => {
  const { relay, client } = await hop(t, echo);
  await new Promise((resolve) => client.once("remoteSettings", resolve));
  const stream = client.request(
    { ":method": "CONNECT", ":protocol": "websocket", ":scheme": "http", ":path": "/" },
    { endStream: false },
  );
  t.match(await answer(stream), { status: 502 });
  t.equal(relay.errors[0]?.code, "upstream_protocol_error");
});

t.test("a stalled stream holds its own window only; the others flow", async (t) => {
  const { relay, client } = await hop(t, (stream, headers) => {
    stream.respond({ ":status": 200 });
    sendPattern(stream, headers[":path"] === "/stalled" ? 3_000_000 : 200_000);
  });
  const stalled = Array.from({ length: 5 }, () => client.request({ ":path": "/stalled" }));
  for (const stream of stalled) {
    stream.pause();
    await new Promise((resolve) => stream.once("response", resolve));
  }
  for (let i = 0; i < 30; i++) {
    t.match(await answer(client.request({ ":path": "/quick" })), {
      bytes: 200_000,
      sha256: patternSha256(200_000),
    });
  }
  const answers = stalled.map((stream) => answer(stream));
  for (const stream of stalled) stream.resume();
  for (const got of await Promise.all(answers))
    t.match(got, { bytes: 3_000_000, sha256: patternSha256(3_000_000) });
  t.equal(relay.clients.length, 1);
});

t.test("GOAWAY of the upstream: what it took is finished, the rest goes elsewhere", async (t) => {
  const held: http2.ServerHttp2Stream[] = [];
  const sessions = new Set<http2.Http2Session>();
  const { relay, client } = await hop(t, (stream) => {
    sessions.add(stream.session as http2.Http2Session);
    held.push(stream);
  });
  const first = answer(client.request({ ":path": "/1" }));
  await eventually("it arrived", () => held.length === 1);
  for (const session of sessions) session.close();
  await eventually("noticed", () => relay.clients[0]?.canSend === false);
  const second = answer(client.request({ ":path": "/2" }));
  await eventually("it arrived elsewhere", () => held.length === 2);
  for (const stream of held) {
    stream.respond({ ":status": 200 });
    stream.end("done");
  }
  t.match(await first, { status: 200, text: "done" });
  t.match(await second, { status: 200, text: "done" });
  t.equal(relay.clients.length, 2);
  await eventually("the old connection is closed", () => relay.closedClients === 1);
});

t.test("drain: what is under way is finished, then the connection closes", async (t) => {
  const held: http2.ServerHttp2Stream[] = [];
  const { relay, client } = await hop(t, (stream) => void held.push(stream), {
    limits: { goawayGraceMs: 50 },
  });
  const last: number[] = [];
  client.on("goaway", (_code, lastStreamId) => void last.push(lastStreamId));
  const got = answer(client.request({ ":path": "/" }));
  await eventually("it arrived", () => held.length === 1);
  relay.servers[0]?.drain();
  await eventually("it was told", () => last.length > 0);
  t.equal(last[0], 2 ** 31 - 1, "streams that were begun before it knew are taken");
  held[0]?.respond({ ":status": 200 });
  held[0]?.end(Buffer.alloc(100_000));
  t.match(await got, { status: 200, bytes: 100_000 });
  await eventually("closed", () => relay.closed === 1);
});

t.test("an upstream that goes away", async (t) => {
  const { relay, client } = await hop(t, (stream, headers) => {
    const session = stream.session;
    if (headers[":path"] === "/after") {
      stream.respond({ ":status": 200 });
      stream.write("x", () => setImmediate(() => session?.destroy()));
    } else session?.destroy();
  });
  t.match(await answer(client.request({ ":path": "/before" })), { status: 502 });
  t.match(relay.errors.pop()?.code, /^upstream_(?:closed|reset)$/);
  const cut = await answer(client.request({ ":path": "/after" }));
  t.match(cut, { status: 200, code: http2.constants.NGHTTP2_INTERNAL_ERROR });
  t.equal(relay.errors.pop()?.code, "upstream_truncated");
});

t.test("a peer that allows one stream at a time, or small windows", async (t) => {
  const { relay, client } = await hop(t, echo, {
    settings: { maxConcurrentStreams: 1, initialWindowSize: 100 },
  });
  const first = client.request({ ":method": "POST", ":path": "/" });
  const got = answer(first);
  sendPattern(first, 20_000);
  t.match(await got, { bytes: 20_000, sha256: patternSha256(20_000) });
  const connection = relay.clients[0];
  t.equal(connection?.maxStreams, 1);
  t.equal(connection?.canSend, true);
});
