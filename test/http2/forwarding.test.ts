/** What crosses from HTTP/2 to an application of HTTP/1.1, byte by byte, and what never does. */
import t, { type Test } from "tap";
import { answer, ByteUpstream, okText, once, type Script } from "../support/byte-upstream.js";
import { eventually } from "../support/eventually.js";
import {
  data,
  endStream,
  FramePeer,
  get,
  headers,
  post,
  rst,
  settings,
  windowUpdate,
} from "../support/http2-frames.js";
import { ProxyPair, type PairOptions } from "../support/proxy-pair.js";

const megabyte = 2 ** 20;

async function open(t: Test, script: Script = answer(), options: Partial<PairOptions> = {}) {
  const upstream = await ByteUpstream.open(t, script);
  const pair = await ProxyPair.open(t, { upstreamPort: upstream.port, ...options });
  return { upstream, pair, client: FramePeer.connect(t, pair.port) };
}

/** The fields of a GET, with some of them replaced, taken off (undefined) or added. */
function fields(changes: Readonly<Record<string, string | undefined>>, ...more: string[]): string[] {
  const all = Object.entries<string | undefined>({ ...get, ...changes });
  return [...all.flatMap(([name, value]) => (value === undefined ? [] : [name, value])), ...more];
}

t.test("row 49: what HTTP/1.1 would read in another way is not sent on", async (t) => {
  const refused: readonly (readonly [string, readonly string[]])[] = [
    ["CR LF in a value", fields({ x: "a\r\nEvil: 1" })],
    ["LF in a value", fields({ x: "a\nEvil: 1" })],
    ["CR in a value", fields({ x: "a\rEvil: 1" })],
    ["NUL in a value", fields({ x: "a\0b" })],
    ["DEL in a value", fields({ x: "a\x7fb" })],
    ["CR LF in a name", fields({ "x\r\nevil": "1" })],
    ["a colon in a name", fields({ "x:y": "1" })],
    ["a colon at the end of a name", fields({ "transfer-encoding:": "chunked" })],
    ["a space in a name", fields({ "x y": "1" })],
    ["a name in upper case", fields({ "X-Upper": "1" })],
    ["an empty name", fields({ "": "1" })],
    ["a space in :method", fields({ ":method": "GET /evil HTTP/1.1\r\nx: y" })],
    ["an empty :method", fields({ ":method": "" })],
    ["a space in :path", fields({ ":path": "/ HTTP/1.1\r\nx: y\r\n\r\nGET /evil" })],
    [":path with a space only", fields({ ":path": "/a b" })],
    [":path without /", fields({ ":path": "evil" })],
    [":path that is absolute", fields({ ":path": "http://evil/" })],
    [":path with a fragment", fields({ ":path": "/a#b" })],
    ["an empty :path", fields({ ":path": "" })],
    ["* with GET", fields({ ":path": "*" })],
    ["transfer-encoding", fields({ "transfer-encoding": "chunked" })],
    ["transfer_encoding", fields({ transfer_encoding: "chunked" })],
    ["connection", fields({ connection: "keep-alive" })],
    ["keep-alive", fields({ "keep-alive": "timeout=5" })],
    ["proxy-connection", fields({ "proxy-connection": "close" })],
    ["upgrade", fields({ upgrade: "h2c" })],
    ["http2-settings", fields({ "http2-settings": "AAMAAABk" })],
    ["te: gzip", fields({ te: "gzip" })],
    ["te: trailers, gzip", fields({ te: "trailers, gzip" })],
    ["content-length without content", fields({ "content-length": "5" })],
    ["two of content-length", fields({}, "content-length", "0", "content-length", "0")],
    ["content-length +0", fields({ "content-length": "+0" })],
    ["content-length 0, 0", fields({ "content-length": "0, 0" })],
    ["content_length", fields({ content_length: "5" })],
    ["host that differs", fields({ host: "other.mesh" })],
    ["two of host", fields({}, "host", "api.mesh", "host", "api.mesh")],
    [":authority with userinfo", fields({ ":authority": "evil@api.mesh" })],
    [":authority with a path", fields({ ":authority": "api.mesh/evil" })],
    [":authority of two", fields({ ":authority": "api.mesh, evil" })],
    ["an empty :authority", fields({ ":authority": "" })],
    ["no authority at all", fields({ ":authority": undefined })],
    ["no :method", fields({ ":method": undefined })],
    ["no :path", fields({ ":path": undefined })],
    ["no :scheme", fields({ ":scheme": undefined })],
    ["two of :method", fields({}).concat(":method", "GET")],
    ["two of :path in front", [":path", "/evil", ...fields({})]],
    ["a pseudo-header behind the fields", fields({ ":path": undefined, x: "1" }, ":path", "/")],
    ["an unknown pseudo-header", [":evil", "1", ...fields({})]],
    [":status", [":status", "200", ...fields({})]],
    [":scheme in upper case", fields({ ":scheme": "HTTP" })],
    [":scheme that is none of ours", fields({ ":scheme": "file" })],
    [":protocol without CONNECT", fields({ ":protocol": "websocket" })],
    ["CONNECT", fields({ ":method": "CONNECT" })],
    ["TRACE", fields({ ":method": "TRACE" })],
  ];
  const { upstream, pair, client } = await open(t);
  let id = -1;
  for (const [name, block] of refused) {
    id += 2;
    client.send(headers(id, block, endStream));
    await client.gets(new RegExp(`^(HEADERS ${id} (400|501)|RST ${id} )`)).then(
      () => t.pass(name),
      (error: unknown) => t.fail(`${name}: ${String(error)}`),
    );
  }
  t.equal(upstream.connections.length, 0, "no byte went upstream");
  t.equal(pair.calls.total, 0, "no request began");
  // The connection is none the worse.
  client.send(headers(id + 2, get, endStream));
  await client.gets(`DATA ${id + 2} 2 END`);
  t.equal(upstream.text, "GET / HTTP/1.1\r\nhost: api.mesh\r\n\r\n");
});

t.test("row 49: what is right arrives as one message, and no more", async (t) => {
  const right: readonly (readonly [string, readonly string[], string])[] = [
    [
      "host alone",
      fields({ ":authority": undefined, host: "Api.Mesh" }),
      "GET / HTTP/1.1\r\nhost: api.mesh\r\n\r\n",
    ],
    ["host that agrees", fields({ host: "API.mesh" }), "GET / HTTP/1.1\r\nhost: api.mesh\r\n\r\n"],
    [
      "te: trailers",
      fields({ te: "trailers" }),
      "GET / HTTP/1.1\r\nhost: api.mesh\r\nte: trailers\r\nConnection: TE\r\n\r\n",
    ],
    [
      "a length with a zero in front, which some read as octal",
      fields({ "content-length": "00" }),
      "GET / HTTP/1.1\r\nhost: api.mesh\r\ncontent-length: 0\r\n\r\n",
    ],
    [
      "proxy-authorization",
      fields({ "proxy-authorization": "secret", authorization: "kept" }),
      "GET / HTTP/1.1\r\nhost: api.mesh\r\nauthorization: kept\r\n\r\n",
    ],
    [
      "high bytes in a value",
      fields({ x: "\xe9\xff" }),
      "GET / HTTP/1.1\r\nhost: api.mesh\r\nx: \xe9\xff\r\n\r\n",
    ],
    [
      "names of Object.prototype",
      fields({ constructor: "1", tostring: "2" }, "__proto__", "3"),
      "GET / HTTP/1.1\r\nhost: api.mesh\r\nconstructor: 1\r\ntostring: 2\r\n__proto__: 3\r\n\r\n",
    ],
  ];
  const { upstream, client } = await open(t);
  let id = -1;
  for (const [name, block, expected] of right) {
    id += 2;
    const before = upstream.text.length;
    client.send(headers(id, block, endStream));
    await client.gets(`DATA ${id} 2 END`);
    t.equal(upstream.text.slice(before), expected, name);
  }
});

t.test("row 49: content that does not match its length", async (t) => {
  for (const [name, length, ...pieces] of [
    ["less", "10", data(1, "12345", endStream)],
    ["more in the last frame", "3", data(1, "12345", endStream)],
    ["more, and then another request", "3", data(1, "123"), data(1, "GET /evil HTTP/1.1\r\n\r\n", endStream)],
    ["less, ended by trailers", "10", data(1, "12345"), headers(1, { x: "1" }, endStream)],
  ] as const) {
    const { upstream, pair, client } = await open(t, () => {});
    client.send(headers(1, { ...post, "content-length": length }), ...pieces);
    await client.gets("RST 1 PROTOCOL_ERROR");
    await pair.idle();
    await eventually("the upstream was left", () => upstream.open === 0);
    t.notMatch(upstream.text, /evil|45$/, `${name}: nothing beyond the length`);
    t.ok(upstream.connections.length <= 1);
  }
  const { upstream, client } = await open(t);
  client.send(headers(1, { ...post, "content-length": "5" }), data(1, "12345", endStream));
  await client.gets("DATA 1 2 END");
  t.equal(upstream.text, "POST / HTTP/1.1\r\nhost: api.mesh\r\ncontent-length: 5\r\n\r\n12345");
  const second = await open(
    t,
    once("0\r\n\r\n", (peer) => peer.write(okText)),
  );
  second.client.send(headers(1, post), data(1, "GET /evil HTTP/1.1\r\n\r\n"), data(1, "x", endStream));
  await second.client.gets("DATA 1 2 END");
  t.match(
    second.upstream.text,
    /^POST \/ HTTP\/1\.1\r\nhost: api\.mesh\r\nTransfer-Encoding: chunked\r\n\r\n/i,
    "without a length it is chunked: what looks like a request is content",
  );
  t.equal(second.upstream.connections.length, 1);
});

t.test("row 26: Expect: 100-continue over HTTP/2", async (t) => {
  const { upstream, client } = await open(t, (peer) => {
    once("\r\n\r\n", () => peer.write("HTTP/1.1 100 Continue\r\n\r\n"))(peer, 0);
    const first = peer.onData;
    peer.onData = (it, chunk) => {
      first(it, chunk);
      if (peer.text.endsWith("hello")) peer.write(okText);
    };
  });
  client.send(headers(1, { ...post, expect: "100-continue", "content-length": "5" }));
  await client.gets("HEADERS 1 100");
  client.send(data(1, "hello", endStream));
  await client.gets("DATA 1 2 END");
  t.match(upstream.text, /\r\nexpect: 100-continue\r\n/);
  client.send(headers(3, { ...post, expect: "200-ok", "content-length": "5" }));
  await client.gets("HEADERS 3 417");
});

t.test("row 27: interim responses over HTTP/2", async (t) => {
  const hints = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
  const { client } = await open(
    t,
    answer((head) => (head.includes("/101") ? "HTTP/1.1 101 No\r\n\r\n" : hints + okText)),
  );
  client.send(headers(1, get, endStream));
  t.strictSame((await client.gets("DATA 1 2 END")).slice(0, 2), ["HEADERS 1 103", "HEADERS 1 200"]);
  client.send(headers(3, { ...get, ":path": "/101" }, endStream));
  await client.gets("HEADERS 3 502");
});

t.test("row 28: an early response while an upload goes on", async (t) => {
  const body = "x".repeat(50_000);
  for (const status of [413, 401, 200]) {
    const early = once("\r\n\r\n", (peer) => {
      peer.write(
        `HTTP/1.1 ${status} Early\r\nContent-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`,
      );
      peer.socket.end();
    });
    const { upstream, pair, client } = await open(t, early);
    client.send(headers(1, { ...post, "content-length": "104857600" }));
    for (let i = 0; i < 3; i++) client.send(data(1, Buffer.alloc(16_384)));
    await client.gets(/DATA 1 \d+ END/);
    t.ok(client.words.includes(`HEADERS 1 ${status}`), `${status}`);
    t.equal(client.bytesOf(1), body.length, "the whole response");
    await client.gets("RST 1 NO_ERROR");
    await pair.idle();
    await eventually("not kept", () => upstream.open === 0);
  }
});

t.test("row 29: responses without a body, and what follows them", async (t) => {
  const script: Script = answer((head) => {
    if (head.startsWith("HEAD")) return "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
    if (head.includes("/204")) return "HTTP/1.1 204 No\r\n\r\nevil";
    if (head.includes("/304")) return "HTTP/1.1 304 No\r\nContent-Length: 5\r\n\r\nHTTP/1.1 200 OK\r\n\r\n";
    return okText;
  });
  const { pair, client } = await open(t, script);
  client.send(headers(1, { ...get, ":method": "HEAD" }, endStream));
  await client.gets("HEADERS 1 200 END");
  client.send(headers(3, { ...get, ":path": "/204" }, endStream));
  await client.gets("HEADERS 3 204 END");
  client.send(headers(5, { ...get, ":path": "/304" }, endStream));
  await client.gets("HEADERS 5 304 END");
  client.send(headers(7, get, endStream));
  await client.gets("DATA 7 2 END");
  await pair.idle();
  t.equal(pair.errors.length, 0);
});

t.test("row 30: a response that is cut off is reset, never ended", async (t) => {
  const cuts: readonly (readonly [string, string])[] = [
    ["less than its length", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello"],
    ["no last chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"],
    ["a chunk that is none", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nevil\r\n"],
  ];
  for (const [name, text] of cuts) {
    for (const isReset of [false, true]) {
      const { client } = await open(
        t,
        once("\r\n\r\n", (peer) => {
          peer.write(text);
          setImmediate(() => (isReset ? peer.socket.resetAndDestroy() : peer.socket.end()));
        }),
      );
      client.send(headers(1, get, endStream));
      const words = await client.gets(/^(RST 1 |HEADERS 1 502)/);
      const clean = words.includes("HEADERS 1 200") && words.some((word) => /^DATA 1 \d+ END/.test(word));
      t.notOk(clean, `${name}, ${isReset ? "RST" : "FIN"}: ${words.join("; ")}`);
    }
  }
});

t.test("row 34: trailers", async (t) => {
  const forbidden =
    "Content-Length: 9\r\nTransfer-Encoding: chunked\r\nHost: evil\r\nAuthorization: evil\r\nX-Sum: 1\r\n";
  const { client } = await open(
    t,
    answer(
      (head) =>
        `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n${
          head.includes("/huge") ? `X-Huge: ${"x".repeat(20_000)}\r\n` : forbidden
        }\r\n`,
    ),
  );
  client.send(headers(1, get, endStream));
  const words = await client.gets(/^HEADERS 1 .*END/);
  t.strictSame(words, ["HEADERS 1 200", "DATA 1 2", "HEADERS 1 x-sum,1 END"]);
  client.send(headers(3, { ...get, ":path": "/huge" }, endStream));
  await client.gets(/^RST 3 /);
  // The other way.
  const up = await open(
    t,
    once("\r\n0\r\n", (peer) => setTimeout(() => peer.write(okText), 20)),
  );
  up.client.send(
    headers(1, post),
    data(1, "hello"),
    headers(1, { "x-sum": "1", "content-length": "9", host: "evil", authorization: "evil" }, endStream),
  );
  await up.client.gets("DATA 1 2 END");
  t.match(up.upstream.text, /5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n$/i);
  up.client.send(headers(3, post), data(3, "hello"), headers(3, { ":path": "/evil" }, endStream));
  await up.client.gets("RST 3 PROTOCOL_ERROR");
  up.client.send(headers(5, post), headers(5, { "x-huge": "x".repeat(16_200) + "y".repeat(150) }, endStream));
  await up.client.gets("RST 5 ENHANCE_YOUR_CALM");
});

t.test("row 35: a client that leaves, at each stage", async (t) => {
  const { upstream, pair } = await open(t, (peer) => {
    peer.onData = (_, chunk) => {
      if (chunk.toString("latin1").includes("GET /begun "))
        peer.write("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx");
    };
  });
  const stages: readonly (readonly [string, (id: number) => Buffer])[] = [
    ["before any answer", (id) => headers(id, get, endStream)],
    ["inside of an upload", (id) => Buffer.concat([headers(id, post), data(id, "x")])],
    ["inside of the answer", (id) => headers(id, { ...get, ":path": "/begun" }, endStream)],
  ];
  for (const [name, begin] of stages) {
    for (const way of ["CANCEL", "FIN", "RST"] as const) {
      // 2,160 requests in all.
      for (let round = 0; round < 6; round++) {
        const client = FramePeer.connect(t, pair.port);
        const ids = Array.from({ length: 40 }, (_, i) => 2 * i + 1);
        const before = upstream.size;
        client.send(...ids.map(begin));
        await upstream.wait("they arrived", () => upstream.size > before);
        const startMs = performance.now();
        if (way === "CANCEL") client.send(...ids.map((id) => rst(id, 8)));
        else if (way === "FIN") client.socket.end();
        else client.socket.resetAndDestroy();
        await pair.idle();
        if (round === 5) t.ok(performance.now() - startMs < 500, `${name}, ${way}`);
        client.socket.destroy();
      }
    }
  }
  await eventually("no connection to the application is left", () => upstream.open === 0);
  t.equal(pair.calls.active, 0);
});

t.test("row 42: what upstreams must not say, told to a client of HTTP/2", async (t) => {
  for (const [name, text, limit] of [
    ["a header of 1 MiB", `HTTP/1.1 200 OK\r\nX: ${"x".repeat(2 ** 20)}\r\n\r\n`, 502],
    ["201 fields", `HTTP/1.1 200 OK\r\n${"X: 1\r\n".repeat(201)}\r\n`, 502],
    ["a bad status line", "HTTP/1.1 2x0 OK\r\n\r\n", 502],
    ["HTTP/0.9", "<html>hello</html>\r\n\r\n", 502],
    ["a space in a name", "HTTP/1.1 200 OK\r\nX y: 1\r\n\r\n", 502],
    ["two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx", 502],
  ] as const) {
    const { client } = await open(t, answer(text));
    client.send(headers(1, get, endStream));
    await client.gets(`HEADERS 1 ${limit}`);
    t.pass(name);
  }
});

t.test("row 37: clients and applications that read nothing", async (t) => {
  const size = 64 * megabyte;
  const piece = Buffer.alloc(megabyte);
  let given = 0;
  const { upstream, pair, client } = await open(t, (peer) => {
    let isAsked = false;
    peer.isKept = false;
    peer.onData = (_, chunk) => {
      if (isAsked) return;
      isAsked = true;
      if (chunk.toString("latin1").startsWith("POST")) return void peer.socket.pause();
      const more = (): void => {
        while (given < size && !peer.socket.destroyed) {
          given += piece.length;
          if (!peer.socket.write(piece)) return void peer.socket.once("drain", more);
        }
      };
      peer.write(`HTTP/1.1 200 OK\r\nContent-Length: ${size}\r\n\r\n`);
      more();
    };
  });
  const before = process.memoryUsage.rss();
  // One never opens its windows, the other opens them and leaves the bytes to its kernel.
  client.send(headers(1, get, endStream));
  await eventually("what the windows allow", () => client.bytesOf(1) === 65_535);
  const deaf = FramePeer.connect(t, pair.port);
  deaf.send(settings([4, 2 ** 31 - 1]), windowUpdate(0, 2 ** 30), headers(1, get, endStream));
  deaf.socket.pause();
  // And an upload nobody reads: what is sent is what we were allowed to.
  const uploader = FramePeer.connect(t, pair.port).send(headers(1, post));
  await uploader.settled();
  for (let sent = 0; sent < 256 * 1024; sent += 16_384) uploader.send(data(1, Buffer.alloc(16_384)));
  await uploader.settled();
  await upstream.wait("all three", () => upstream.connections.length === 3);
  let settledAt = -1;
  while (settledAt !== given) {
    settledAt = given;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  t.ok(given < 2 * 24 * megabyte, `${given / megabyte} MiB of 128 were taken from the application`);
  const grown = (process.memoryUsage.rss() - before) / megabyte;
  t.ok(grown < 40, `memory grew by ${grown.toFixed()} MiB`);
  for (const peer of [client, deaf, uploader]) peer.socket.destroy();
  await pair.idle();
});

t.test("row 38: an upload in frames of one byte", async (t) => {
  const size = 200_000;
  const { upstream, client } = await open(
    t,
    once(`${"x".repeat(9)}y`, (peer) => peer.write(okText)),
  );
  const before = process.memoryUsage.rss();
  const startMs = performance.now();
  client.send(headers(1, { ...post, "content-length": String(size) }));
  // Within the window of a stream.
  const frames = Buffer.concat(Array<Buffer>(10_000).fill(data(1, "x")));
  for (let sent = 10_000; sent < size; sent += 10_000) client.send(frames);
  client.send(frames.subarray(10), data(1, "y", endStream));
  await client.gets("DATA 1 2 END");
  const tookMs = performance.now() - startMs;
  t.equal(
    upstream.size,
    `POST / HTTP/1.1\r\nhost: api.mesh\r\ncontent-length: ${size}\r\n\r\n`.length + size,
  );
  t.ok(tookMs < 4000, `${tookMs.toFixed()} ms for ${size} frames`);
  const grown = (process.memoryUsage.rss() - before) / megabyte;
  t.ok(grown < 60, `memory grew by ${grown.toFixed()} MiB`);
});

t.test("row 52: gRPC messages are not gathered", async (t) => {
  const app = await ByteUpstream.open(t, () => {});
  const pair = await ProxyPair.open(t, { upstreamPort: app.port });
  const client = FramePeer.connect(t, pair.port);
  const call = { ...post, ":path": "/s/m", "content-type": "application/grpc", te: "trailers" };
  // A message of 1 GiB, of which a part comes; then one with a flag that there is not.
  for (const [id, flag, length] of [
    [1, 0, 2 ** 30],
    [3, 7, 4 * megabyte + 1],
  ] as const) {
    const prefix = Buffer.alloc(5 + 1000);
    prefix[0] = flag;
    prefix.writeUInt32BE(length, 1);
    const before = app.size;
    const heap = process.memoryUsage.rss();
    client.send(headers(id, call), data(id, prefix));
    await app.wait(
      "what came so far",
      () => app.size >= before + 1005 && app.connections.some((peer) => peer.bytes.includes(prefix)),
    );
    t.ok(process.memoryUsage.rss() - heap < 20 * megabyte, "nothing was set aside for the rest");
    client.send(rst(id, 8));
    await pair.idle();
  }
});
