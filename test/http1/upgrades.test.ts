/** Tunnels over HTTP/1.1: raw bytes and real WebSocket peers through one and two hops. */
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import http from "node:http";
import type { AddressInfo } from "node:net";
import t, { type Test } from "tap";
import { WebSocket, WebSocketServer } from "ws";
import { addAccept, webSocketAccept } from "../../src/http1/websocket-key.js";
import type { Layer } from "../../src/stack/service.js";
import { ByteUpstream, okText, once, type Script } from "../support/byte-upstream.js";
import { eventually } from "../support/eventually.js";
import { ProxyPair, type PairOptions } from "../support/proxy-pair.js";
import { Condition, connect, type RawPeer } from "../support/raw-client.js";

const get = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";
const key = "dGhlIHNhbXBsZSBub25jZQ==";
const offer = `GET /chat HTTP/1.1\r\nHost: a.test\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Key: ${key}\r\n\r\n`;
const opened = `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${webSocketAccept(key)}\r\n\r\n`;

async function open(t: Test, script: Script = () => {}, options: Partial<PairOptions> = {}) {
  const upstream = await ByteUpstream.open(t, script);
  const pair = await ProxyPair.open(t, { upstreamPort: upstream.port, ...options });
  return { upstream, pair };
}

/** Answers every offer with the 101, everything else in HTTP with a plain response; notes nothing else. */
const openTunnel: Script = once("\r\n\r\n", (peer) =>
  peer.write(/^upgrade: websocket/im.test(peer.text) ? opened : okText),
);

/** A tunnel through the pair, open. */
async function tunnel(t: Test, options: Partial<PairOptions> = {}) {
  const { upstream, pair } = await open(t, openTunnel, options);
  const client = connect(t, pair.port);
  client.write(offer);
  await client.gets("\r\n\r\n");
  const server = await upstream.connection(0);
  return { upstream, pair, client, server };
}

/** What came after the head. */
const content = (peer: RawPeer): string => peer.text.slice(peer.text.indexOf("\r\n\r\n") + 4);
const ways = [
  { hops: 1, label: "1 hop" },
  { hops: 2, hop: "http1", label: "2 hops" },
  { hops: 2, hop: "http2", label: "2 hops, HTTP/2 between" },
] as const;

t.test("the key and its answer (RFC 6455 section 1.3)", async (t) => {
  t.equal(webSocketAccept(key), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
  const headers = ["Sec-WebSocket-Accept", "theirs"];
  addAccept(headers, key);
  t.strictSame(headers, ["Sec-WebSocket-Accept", "theirs"], "an upstream's own answer stays");
});

for (const { label, ...options } of ways) {
  t.test(`row 39: bytes before the 101 are held, ${label}`, async (t) => {
    const { upstream, pair } = await open(t, () => {}, options);
    const client = connect(t, pair.port);
    client.write(`${offer}early`);
    const server = await upstream.connection(0);
    const head = await server.gets("\r\n\r\n");
    t.match(head, /\r\nUpgrade: websocket\r\nConnection: upgrade\r\n/);
    t.match(head, new RegExp(`\\r\\nSec-WebSocket-Key: ${key}\\r\\n`));
    // All that was to come would have come before the answer to a request that was sent later.
    upstream.script = once("\r\n\r\n", (peer) => peer.write(okText));
    const other = connect(t, pair.port);
    other.write(get);
    await other.gets("ok");
    t.equal(content(server), "", "nothing of the tunnel was sent before it was open");
    server.write(`${opened}welcome`);
    await client.gets("welcome");
    t.match(client.text, /^HTTP\/1\.1 101 Switching Protocols\r\n/);
    t.match(client.text, /\r\nUpgrade: websocket\r\nConnection: upgrade\r\n/);
    t.equal(client.text.match(/upgrade:/gi)?.length, 1);
    t.equal(client.text.match(/sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK\+xOo=/gi)?.length, 1);
    await server.gets("early");
    client.write("GET / HTTP/1.1\r\n\r\n");
    await server.gets("earlyGET / HTTP/1.1\r\n\r\n");
    server.write("HTTP/1.1 200 OK\r\n\r\n");
    await client.gets("welcomeHTTP/1.1 200 OK\r\n\r\n");
    t.equal(pair.calls.active, options.hops, "a tunnel is a request under way");
    client.socket.end();
    await server.over();
    server.socket.end();
    await client.closed();
    await pair.idle();
    t.equal(pair.errors.length, 0);
    const pools = "hop" in options && options.hop === "http1" ? 2 : 1;
    t.equal(pair.pooled, pools, "only the ordinary request's connections are pooled");
  });

  t.test(`row 39: every other answer is an ordinary one, ${label}`, async (t) => {
    const smuggled = "GET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n";
    const chunked = "HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n";
    const answers: [status: number, reply: string, body: string][] = [
      [200, okText, "ok"],
      [403, chunked, "no"],
      [
        426,
        "HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\nUpgrade: foo\r\nConnection: upgrade\r\n\r\n",
        "",
      ],
      [204, "HTTP/1.1 204 No Content\r\n\r\n", ""],
      [200, "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\n\r\nuntil close", "until close"],
    ];
    for (const [status, reply, body] of answers) {
      for (const early of ["", smuggled]) {
        const { upstream, pair } = await open(t, undefined, options);
        upstream.script = once("\r\n\r\n", (peer) => {
          peer.write(reply);
          if (body === "until close") peer.socket.end();
        });
        const client = connect(t, pair.port);
        client.write(offer + early);
        const text = await client.over();
        t.match(text, new RegExp(`HTTP/1\\.1 ${status} `));
        t.equal(text.match(/HTTP\/1\.1 [2-5]/g)?.length, 1, `${status}: one reply`);
        t.match(text, /\r\nConnection: close\r\n/);
        t.ok(text.includes(body));
        client.socket.end();
        await pair.idle();
        await upstream.wait("upstream closed", () => upstream.open === 0);
        t.equal(pair.pooled, 0, `${status}: never pooled`);
        t.notMatch(upstream.text, /smuggled/, `${status}: nothing of it went upstream`);
      }
    }
  });

  t.test(`rows 27, 39: a 101 that is none, ${label}`, async (t) => {
    const heads: [name: string, request: string, reply: string][] = [
      ["another protocol", offer, opened.replace("websocket", "foo")],
      ["two protocols", offer, opened.replace("websocket", "websocket, foo")],
      ["no Upgrade", offer, opened.replace("Upgrade: websocket\r\n", "")],
      ["no Connection", offer, opened.replace("Connection: Upgrade\r\n", "")],
      ["unasked for", get, opened],
      ["h2c", offer.replace("WebSocket", "h2c"), opened.replace("websocket", "h2c")],
    ];
    for (const [name, request, reply] of heads) {
      const { upstream, pair } = await open(t, undefined, options);
      upstream.script = once("\r\n\r\n", (peer) => peer.write(`${reply}HTTP/1.1 200 OK\r\n\r\n`));
      const client = connect(t, pair.port);
      client.write(request);
      t.match(await client.gets("\r\n\r\nupstream"), /^HTTP\/1\.1 502 /, name);
      await upstream.wait("closed", () => upstream.open === 0);
      await pair.idle();
      t.equal(pair.errors[0]?.code, "upstream_protocol_error", name);
    }
  });

  t.test(`half-close in both directions, ${label}`, async (t) => {
    const first = await tunnel(t, options);
    first.client.socket.end("last words");
    await first.server.gets("last words");
    await first.server.over();
    t.notOk(first.client.isOver, "the other direction stays open");
    first.server.write("answer");
    await first.client.gets("answer");
    first.server.socket.end("bye");
    await first.client.gets("answerbye");
    await first.client.closed();
    await first.pair.idle();

    const second = await tunnel(t, options);
    second.server.socket.end("that was all");
    await second.client.gets("that was all");
    await second.client.over();
    t.equal(second.client.error, "", "a FIN, no reset");
    second.client.write("still here");
    await second.server.gets("still here");
    second.client.socket.end();
    await second.server.closed();
    await second.pair.idle();
    for (const { pair } of [first, second]) {
      t.equal(pair.errors.length, 0);
      t.equal(pair.pooled, 0);
      await eventually("no client", () => pair.clients === 0);
    }
  });

  t.test(`resets and closing in both directions, ${label}`, async (t) => {
    const first = await tunnel(t, options);
    first.client.socket.resetAndDestroy();
    await first.server.closed();
    t.equal(first.server.error, "ECONNRESET", "of the client");
    await first.pair.idle();
    t.equal(first.pair.errors[0]?.code, "client_gone");

    const second = await tunnel(t, options);
    second.server.socket.resetAndDestroy();
    await second.client.closed();
    t.equal(second.client.error, "ECONNRESET", "of the upstream");
    await second.pair.idle();
    t.match(second.pair.errors[0]?.code, /^(?:upstream_reset|upstream_truncated)$/);

    const third = await tunnel(t, options);
    third.pair.close();
    await third.client.closed();
    await third.server.closed();
    await third.pair.idle();

    const fourth = await open(t, undefined, options);
    const client = connect(t, fourth.pair.port);
    client.write(offer);
    const server = await fourth.upstream.connection(0);
    await server.gets("\r\n\r\n");
    client.socket.destroy();
    await server.over();
    await fourth.pair.idle();
    for (const { pair } of [first, second, third, fourth]) {
      t.equal(pair.pooled, 0);
      await eventually("no client", () => pair.clients === 0);
    }
  });
}

t.test("a slow reader holds its peer back", async (t) => {
  const size = 96 << 20;
  const block = Buffer.alloc(256 << 10, "x");
  for (const direction of ["down", "up"] as const) {
    const { client, server, pair } = await tunnel(t);
    const [from, to] = direction === "down" ? [server, client] : [client, server];
    to.isKept = false;
    const before = to.size;
    to.socket.pause();
    let sent = 0;
    const pump = (): void => {
      while (sent < size) {
        sent += block.length;
        if (!from.socket.write(block)) return;
      }
      from.socket.end();
    };
    from.socket.on("drain", pump);
    pump();
    // Until nothing moves any more: every buffer on the way is full.
    for (let last = -1; sent !== last;) {
      last = sent;
      await new Promise((resolve) => setTimeout(resolve, 150));
    }
    // All that lies anywhere: the kernel holds the most of it.
    t.ok(sent < size / 2, `${direction}: stopped after ${sent >> 20} MiB`);
    to.socket.resume();
    await to.over();
    t.equal(to.size - before, size, `${direction}: all arrived`);
    to.socket.end();
    await pair.idle();
    t.equal(pair.errors.length, 0);
  }
});

t.test("no timer of requests concerns a tunnel; it survives a drain", async (t) => {
  const timeouts = { headMs: 60, idleMs: 60, streamIdleMs: 60, lingerMs: 60 };
  const { upstream, pair, client, server } = await tunnel(t, { timeouts });
  upstream.script = () => {};
  for (let i = 0; i < 3; i++) {
    const silent = connect(t, pair.port);
    silent.write(get);
    t.match(await silent.gets("\r\n\r\n"), /^HTTP\/1\.1 504 /, "a request is timed out meanwhile");
  }
  const drained = Promise.all(pair.listeners.map((connections) => connections.drain()));
  client.write("up");
  await server.gets("up");
  server.write("down");
  await client.gets("down");
  client.socket.end();
  await server.over();
  server.socket.end();
  await drained;
});

t.test("an offer in a pipeline, and as HTTP/1.0", async (t) => {
  const { upstream, pair } = await open(t, (peer) => {
    peer.onData = (_, chunk) => {
      const text = chunk.toString("latin1");
      peer.write(text.includes("Upgrade: ") ? opened : text.startsWith("GET") ? okText : text);
    };
  });
  const client = connect(t, pair.port);
  client.write(`${get}${offer}ping`);
  await client.gets("\r\n\r\nokHTTP/1.1 101 ");
  await client.gets("\r\n\r\nping");
  const old = connect(t, pair.port);
  old.write(offer.replace("HTTP/1.1", "HTTP/1.0"));
  t.match(await old.gets("ok"), /^HTTP\/1\.1 200 /);
  t.equal(upstream.text.match(/^upgrade:/gim)?.length, 1, "HTTP/1.0 offers nothing");
});

/** What a request and its 101 look like when HTTP/2 lies between client and upstream (RFC 8441). */
const overHttp2: Layer = (inner) => ({
  call(request, reply) {
    const headers = request.head.headers.filter(
      (_, i, all) => !/^sec-websocket-key$/i.test(all[i - (i % 2)] as string),
    );
    Object.assign(request, { head: { ...request.head, method: "CONNECT", version: "2", headers } });
    return inner.call(request, reply);
  },
});

t.test("WebSocket between HTTP/2 and HTTP/1.1: key and answer are made up for", async (t) => {
  const layers = () => [overHttp2];
  const replies = [
    (accept: string) => opened.replace(webSocketAccept(key), accept),
    () => opened,
    () => opened.replace(/Sec-WebSocket-Accept.*\r\n/, ""),
  ];
  for (const [i, reply] of replies.entries()) {
    const script = once("\r\n\r\n", (peer) => {
      const made = /\r\nSec-WebSocket-Key: (.*)\r\n/.exec(peer.text)?.[1] ?? "";
      t.equal(Buffer.from(made, "base64").length, 16);
      t.not(made, key);
      t.match(peer.text, /^GET \/chat HTTP\/1\.1\r\n/);
      peer.write(reply(webSocketAccept(made)));
    });
    const { pair } = await open(t, script, { hops: 1, layers });
    const client = connect(t, pair.port);
    client.write(offer);
    const text = await client.gets("\r\n\r\n");
    if (i > 0) {
      t.match(text, /^HTTP\/1\.1 502 /, "the wrong key was answered, or none");
      continue;
    }
    t.match(text, /^HTTP\/1\.1 101 /);
    t.match(text, /\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK\+xOo=\r\n/, "the client's own key");
    client.socket.destroy();
  }
});

/** A WebSocket application that sends everything back. */
async function echoServer(t: Test): Promise<number> {
  const server = http.createServer();
  const sockets = new WebSocketServer({ server });
  sockets.on("connection", (socket) => {
    socket.on("message", (data, isBinary) => socket.send(data as Buffer, { binary: isBinary }));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.teardown(() => {
    for (const socket of sockets.clients) socket.terminate();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

t.test("100 WebSockets at once, each with its own words", async (t) => {
  const pair = await ProxyPair.open(t, { upstreamPort: await echoServer(t) });
  const condition = new Condition();
  const rounds = 8;
  let done = 0;
  let wrong = 0;
  for (let i = 0; i < 100; i++) {
    const socket = new WebSocket(`ws://127.0.0.1:${pair.port}/${i}`);
    const words = (round: number): string => `socket ${i}, round ${round}: ${"z".repeat((i * 977) % 40_000)}`;
    let round = 0;
    socket.on("open", () => socket.send(words(0)));
    socket.on("message", (data) => {
      if ((data as Buffer).toString() !== words(round)) wrong++;
      if (++round < rounds) socket.send(words(round));
      else socket.close(1000, "done");
    });
    socket.on("error", () => wrong++);
    socket.on("close", (code, reason) => {
      if (code !== 1000 || reason.toString() !== "done" || round !== rounds) wrong++;
      done++;
      condition.changed();
    });
  }
  await condition.wait("all are done", () => done === 100);
  t.equal(wrong, 0);
  await pair.idle();
  t.equal(pair.errors.length, 0);
  t.equal(pair.pooled, 0);
});

const python = "/usr/bin/python3";
const script = `
import asyncio, sys
import websockets
async def main():
    async with websockets.connect(sys.argv[1], max_size=None) as socket:
        for size in (0, 5, 125, 126, 65535, 65536, 1 << 20):
            data = bytes(i % 251 for i in range(size))
            await socket.send(data)
            assert await socket.recv() == data, size
        await socket.send("text \\u00e9")
        assert await socket.recv() == "text \\u00e9"
        await (await socket.ping())
    print("closed", socket.close_code)
asyncio.run(main())
`;

const skip = existsSync(python) ? false : `${python} is not installed`;

t.test("a client of another make: python's websockets", { skip }, async (t) => {
  const pair = await ProxyPair.open(t, { upstreamPort: await echoServer(t) });
  const child = spawn(python, ["-c", script, `ws://127.0.0.1:${pair.port}/`], { timeout: 20_000 });
  let output = "";
  child.stdout.on("data", (chunk: Buffer) => (output += chunk.toString()));
  child.stderr.on("data", (chunk: Buffer) => (output += chunk.toString()));
  await new Promise((resolve) => child.on("close", resolve));
  if (output.includes("No module named 'websockets'"))
    return void t.comment("skipped: python has no websockets module");
  t.equal(output, "closed 1000\n");
  await pair.idle();
  t.equal(pair.errors.length, 0);
});
