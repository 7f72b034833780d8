/** HTTP/1.1 connections on real sockets: what passes unchanged, what is cancelled, what stays bounded, what is never mixed up. */
import http, { type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import fc from "fast-check";
import t, { type Test } from "tap";
import { clusterDefaults, retryDefaults } from "../../src/config/cluster-defaults.js";
import { retry, type RetryOptions } from "../../src/policy/retry.js";
import { RetryBudget } from "../../src/policy/retry-budget.js";
import { RetryPlaces } from "../../src/policy/retry-places.js";
import { Counter } from "../../src/telemetry/cells.js";
import { systemClock } from "../../src/time/clock.js";
import type { TimerWheel } from "../../src/time/timer-wheel.js";
import { answer, ByteUpstream, okText, once, type Script } from "../support/byte-upstream.js";
import { eventually } from "../support/eventually.js";
import { cut, readRequests, readResponses } from "../support/http1-messages.js";
import { ProxyPair, type PairOptions } from "../support/proxy-pair.js";
import { connect, converse, type RawPeer } from "../support/raw-client.js";

const host = "Host: a.test\r\n";
const get = `GET / HTTP/1.1\r\n${host}\r\n`;
const post = (fields: string): string => `POST / HTTP/1.1\r\n${host}${fields}\r\n\r\n`;

async function open(t: Test, script: Script = answer(), options: Partial<PairOptions> = {}) {
  const upstream = await ByteUpstream.open(t, script);
  const pair = await ProxyPair.open(t, { upstreamPort: upstream.port, ...options });
  return { upstream, pair };
}

/** What every route has, but for what is given. */
const defaultRetry = (wheel: TimerWheel, options: Partial<RetryOptions> = {}) => [
  retry({
    config: undefined,
    budget: new RetryBudget(clusterDefaults.retryBudget),
    wheel,
    clock: systemClock,
    meters: {
      retries: new Counter(),
      successes: new Counter(),
      overflows: new Counter(),
      exhausted: new Counter(),
    },
    ...options,
  }),
];

/** What lies between the two hops. */
const between = ["http1", "http2"] as const;

t.test("header names and values pass in their case and order", async (t) => {
  const fields =
    "X-ONE: 1\r\nx-two: 2\r\nX-one:  3 \r\nAccept: a,b\r\nCookie: a=b; c\r\nx-Empty:\r\nX-High: \xe9\xff\r\n";
  const passed = fields.replace("  3 ", " 3").replace("x-Empty:", "x-Empty: ");
  for (const hop of between) {
    const { upstream, pair } = await open(
      t,
      answer(`HTTP/1.1 299 My Own\r\n${fields}Content-Length: 2\r\n\r\nok`),
      { hop },
    );
    const client = connect(t, pair.port);
    client.write(`GET /a?b=%20 HTTP/1.1\r\n${fields}HOST: a.test\r\n\r\n`);
    await client.gets("\r\n\r\nok");
    // HTTP/2 has no reason phrase (RFC 9113 §8.3.2), and the authority in front.
    const [sent, reason] =
      hop === "http1" ? [`${passed}HOST: a.test\r\n`, "My Own"] : [`HOST: a.test\r\n${passed}`, ""];
    t.equal(upstream.text, `GET /a?b=%20 HTTP/1.1\r\n${sent}\r\n`, `of requests, ${hop}`);
    const reply = `HTTP/1.1 299 ${reason}\r\n${passed}Content-Length: 2\r\n\r\nok`;
    t.equal(client.text, reply, `of responses, ${hop}`);
  }
});

t.test("a field of 60 KiB passes, one of 64 KiB does not", async (t) => {
  const large = `X: ${"a".repeat(60 * 1024)}\r\n`;
  const { upstream, pair } = await open(t, answer(`HTTP/1.1 200 OK\r\n${large}Content-Length: 2\r\n\r\nok`));
  const client = connect(t, pair.port);
  client.write(`GET / HTTP/1.1\r\n${host}${large}\r\n`);
  await client.gets("\r\n\r\nok");
  t.ok(upstream.text.includes(large) && client.text.includes(large));
  t.match(
    await converse(t, pair.port, `GET / HTTP/1.1\r\n${host}X: ${"a".repeat(64 * 1024)}\r\n\r\n`),
    /^HTTP\/1\.1 431 [^]*x-remora-error: request_headers_too_large/,
  );
});

t.test("HTTP/1.0 clients", async (t) => {
  const script: Script = (peer, index) =>
    answer((head) =>
      head.includes("/chunked")
        ? "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX: 1\r\n\r\n"
        : okText,
    )(peer, index);
  const { upstream, pair } = await open(t, script);
  t.equal(
    await converse(t, pair.port, "GET / HTTP/1.0\r\n\r\n"),
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
    "closed after the reply",
  );
  t.match(
    upstream.text,
    /^GET \/ HTTP\/1\.1\r\nHost: 127\.0\.0\.1:\d+\r\n\r\n$/,
    "HTTP/1.1 upstream wants a Host",
  );
  const client = connect(t, pair.port);
  const kept = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok";
  client.write(`GET / HTTP/1.0\r\n${host}Connection: keep-alive\r\n\r\n`);
  t.equal(await client.gets("ok"), kept, "kept when asked for");
  client.write(`GET /chunked HTTP/1.0\r\n${host}Connection: keep-alive\r\n\r\n`);
  t.equal(
    await client.over(),
    `${kept}HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nok`,
    "never chunked: the close is the end",
  );
});

t.test("row 32: the upstream closes a kept-alive connection as a request comes", async (t) => {
  const racer =
    (end: (peer: RawPeer) => void): Script =>
    (peer, index) => {
      let heads = 0;
      peer.onData = () => {
        if (index > 0 || heads++ === 0) peer.write(okText);
        else end(peer);
      };
    };
  for (const [name, end] of [
    ["FIN", (peer: RawPeer) => peer.socket.end()],
    ["RST", (peer: RawPeer) => peer.socket.resetAndDestroy()],
  ] as const) {
    await t.test(`${name}: GET is sent again, once, on a fresh connection`, async (t) => {
      const { upstream, pair } = await open(t, racer(end), { hops: 1, layers: defaultRetry });
      const client = connect(t, pair.port);
      client.write(get);
      await client.gets("ok");
      client.write(get);
      await client.wait("both replies", () => client.text === okText + okText);
      t.equal(upstream.connections.length, 2);
      t.equal(upstream.text.split("GET /").length - 1, 3);
    });
    await t.test(`${name}: POST is not, and the caller is told why`, async (t) => {
      const { upstream, pair } = await open(t, racer(end), { hops: 1, layers: defaultRetry });
      const client = connect(t, pair.port);
      client.write(get);
      await client.gets("ok");
      client.write(post("Content-Length: 5") + "hello");
      const text = await client.gets("x-remora-error");
      t.match(text, /HTTP\/1\.1 502 [^]*x-remora-error: keepalive_race/);
      t.equal(upstream.text.split("POST /").length - 1, 1, "row 33: exactly once");
    });
  }
  await t.test("closed while idle: nobody notices", async (t) => {
    const { upstream, pair } = await open(t, answer(), { hops: 1 });
    const client = connect(t, pair.port);
    client.write(get);
    await client.gets("ok");
    (await upstream.connection(0)).socket.end();
    await upstream.wait("our side closed, too", () => upstream.open === 0);
    client.write(post("Content-Length: 0"));
    await client.wait("both replies", () => client.text === okText + okText);
  });
  await t.test("bytes that come before the request are no response to it", async (t) => {
    const { upstream, pair } = await open(t, answer(), { hops: 1, layers: defaultRetry });
    const client = connect(t, pair.port);
    client.write(get);
    await client.gets("ok");
    // Some servers say so before they close an idle connection.
    (await upstream.connection(0)).write("HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n");
    await upstream.wait("dropped", () => upstream.open === 0);
    client.write(get);
    await client.wait("both replies", () => client.text === okText + okText);
  });
});

t.test("the connection of a response that is retried lives on if all of it is here", async (t) => {
  const length = "HTTP/1.1 503 Later\r\nContent-Length: 4\r\n\r\n";
  const chunked = "HTTP/1.1 503 Later\r\nTransfer-Encoding: chunked\r\n\r\n";
  const cases: [name: string, first: string, connections: number][] = [
    ["whole", `${length}soon`, 1],
    ["whole, in chunks", `${chunked}4\r\nsoon\r\n0\r\n\r\n`, 1],
    ["without a body", "HTTP/1.1 503 Later\r\nContent-Length: 0\r\n\r\n", 1],
    ["in part", `${length}so`, 2],
    ["in part, in chunks", `${chunked}4\r\nsoon\r\n`, 2],
    ["more than it said", `${length}soon!`, 2],
  ];
  for (const [name, first, connections] of cases) {
    const { upstream, pair } = await open(t, () => {}, {
      layers: (wheel) => defaultRetry(wheel, { config: { ...retryDefaults, baseBackoffMs: 1 } }),
      hops: 1,
    });
    let heads = 0;
    upstream.script = answer(() => (heads++ === 0 ? first : okText));
    const client = connect(t, pair.port);
    client.write(get);
    t.equal(await client.gets("ok"), okText, name);
    t.equal(upstream.connections.length, connections, `${name}: connections`);
    t.equal(pair.pooled, 1, `${name}: one is kept`);
  }
});

t.test("row 33: POST counted exactly once when the upstream dies over it", async (t) => {
  const { upstream, pair } = await open(
    t,
    once("hello", (peer) => peer.socket.resetAndDestroy()),
    {
      layers: defaultRetry,
    },
  );
  const client = connect(t, pair.port);
  client.write(post("Content-Length: 5") + "hello");
  t.match(await client.gets("x-remora-error"), /^HTTP\/1\.1 502 /);
  t.equal(upstream.connections.length, 1);
});

t.test("row 35: a client that goes away cancels its request", async (t) => {
  const stages: [
    name: string,
    sent: string,
    reply: string,
    until: (client: RawPeer, peer: RawPeer) => Promise<unknown>,
  ][] = [
    ["before the response", get, "", (_, peer) => peer.gets("\r\n\r\n")],
    ["inside the upload", post("Content-Length: 9") + "half", "", (_, peer) => peer.gets("half")],
    [
      "inside a chunked upload",
      post("Transfer-Encoding: chunked") + "4\r\nhalf\r\n",
      "",
      (_, peer) => peer.gets("half"),
    ],
    [
      "inside the response",
      get,
      "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf",
      (client) => client.gets("half"),
    ],
    ["with a second request waiting", get + get, "", (_, peer) => peer.gets("\r\n\r\n")],
  ];
  const ways = [
    ["FIN", "http1"],
    ["RST", "http1"],
    ["FIN", "http2"],
    ["RST", "http2"],
  ] as const;
  for (const [name, sent, reply, until] of stages) {
    for (const [how, hop] of ways) {
      const script: Script = (peer) => {
        peer.onData = () => {
          if (reply !== "" && peer.text.endsWith("\r\n\r\n")) peer.write(reply);
        };
      };
      const { upstream, pair } = await open(t, script, { hop });
      const client = connect(t, pair.port);
      client.write(sent);
      const peer = await upstream.connection(0);
      await until(client, peer);
      const startMs = performance.now();
      if (how === "FIN") client.socket.end();
      else client.socket.resetAndDestroy();
      await peer.over();
      const tookMs = performance.now() - startMs;
      t.ok(tookMs < 100, `${how} ${name}: upstream told in ${tookMs.toFixed(1)} ms`);
      await pair.idle();
      t.equal(pair.pooled, 0, `${how} ${name}: no connection is reused`);
      t.ok(
        pair.errors.every((error) => error.code === "client_gone"),
        `${how} ${name}: ${pair.errors.join("; ")}`,
      );
    }
  }
});

t.test("row 35: 500 clients that leave at any moment leave nothing behind", async (t) => {
  let replies = 0;
  const { upstream, pair } = await open(t, (peer, index) => {
    if (index % 3 === 0) return;
    answer(index % 3 === 1 ? okText : "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")(peer, index);
  });
  const requests = [get, post("Content-Length: 9") + "half", get + get, "GET / HT"];
  for (let batch = 0; batch < 10; batch++) {
    await Promise.all(
      Array.from({ length: 50 }, async (_, i) => {
        const client = connect(t, pair.port);
        client.onData = () => replies++;
        client.write(requests[i % requests.length] as string);
        for (let turns = (i * 7) % 60; turns > 0; turns--) await new Promise(setImmediate);
        if (i % 2 === 0) client.socket.resetAndDestroy();
        else client.socket.destroy();
      }),
    );
  }
  // All have left: whatever is still under way must end by itself.
  while (pair.listeners.at(-1)?.count !== 0) await new Promise(setImmediate);
  await pair.idle();
  t.equal(pair.calls.active, 0);
  pair.pools.forEach((pool) => pool.retire());
  await upstream.wait("no upstream connection is held by a dead request", () => upstream.open === 0);
  t.equal(pair.pooled, 0);
  t.ok(pair.calls.total > 100 && replies > 0, `${pair.calls.total} calls`);
});

const mebibyte = 1024 * 1024;
/** What the kernel's socket buffers of three connections may hold beside ours. */
const inKernel = 3 * 6 * mebibyte;

/** Writes `total` bytes as fast as the socket takes them; gives the count of bytes it has let go of. */
function pour(peer: RawPeer, total: number): () => number {
  const piece = Buffer.alloc(64 * 1024, "x");
  let written = 0;
  const more = (): void => {
    while (written < total && peer.socket.writable) {
      written += piece.length;
      if (!peer.socket.write(piece)) return void peer.socket.once("drain", more);
    }
  };
  more();
  return () => written - peer.socket.writableLength;
}

setFlagsFromString("--expose-gc");
const collectGarbage = runInNewContext("gc") as () => void;

/** Bytes that this process really holds in buffers. */
function heldBytes(): number {
  collectGarbage();
  return process.memoryUsage().arrayBuffers;
}

/** The count once it no longer changes. */
async function standstill(count: () => number): Promise<number> {
  for (let before = -1; ;) {
    const now = count();
    if (now === before) return now;
    before = now;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

t.test("row 37: what nobody reads is not taken", async (t) => {
  const total = 64 * mebibyte;
  const framings = [`Content-Length: ${total}`, "Transfer-Encoding: chunked"] as const;
  await t.test("download", async (t) => {
    let sent = (): number => 0;
    const { pair } = await open(
      t,
      once("\r\n\r\n", (peer) => {
        peer.write(`HTTP/1.1 200 OK\r\n${framings[0]}\r\n\r\n`);
        sent = pour(peer, total);
      }),
    );
    const client = connect(t, pair.port);
    client.write(get);
    await client.gets("\r\n\r\n");
    client.isKept = false;
    client.socket.pause();
    const before = await standstill(heldBytes);
    const taken = await standstill(() => sent());
    t.ok(taken < inKernel + 2 * mebibyte, `${(taken / mebibyte).toFixed(1)} MiB taken`);
    // Freed buffers are swept in the background: what counts is what stays.
    const held = (await standstill(heldBytes)) - before;
    t.ok(held < 2 * mebibyte, `${(held / 1024).toFixed(0)} KiB held`);
    client.socket.resume();
    await client.wait("all of it", () => client.size >= total);
  });
  await t.test("upload", async (t) => {
    const { upstream, pair } = await open(t, (peer) => {
      peer.isKept = false;
      peer.socket.pause();
    });
    const client = connect(t, pair.port);
    client.write(post(framings[0]));
    const before = await standstill(heldBytes);
    const sent = pour(client, total);
    const taken = await standstill(sent);
    t.ok(taken < inKernel + 2 * mebibyte, `${(taken / mebibyte).toFixed(1)} MiB taken`);
    // Freed buffers are swept in the background: what counts is what stays.
    const held = (await standstill(heldBytes)) - before;
    t.ok(held < 2 * mebibyte, `${(held / 1024).toFixed(0)} KiB held`);
    const peer = await upstream.connection(0);
    peer.socket.resume();
    await upstream.wait("all of it", () => upstream.size >= total);
    peer.write(okText);
    await client.gets("ok");
  });
});

t.test("row 38: one-byte chunks, both ways", async (t) => {
  const count = 200_000;
  const drops = "1\r\nx\r\n".repeat(count) + "0\r\n\r\n";
  for (const hop of between) {
    const { upstream, pair } = await open(
      t,
      once("\r\n0\r\n\r\n", (peer) =>
        peer.write(`HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${drops}`),
      ),
      { hop },
    );
    const client = connect(t, pair.port);
    client.write(post("Transfer-Encoding: chunked") + drops);
    await client.gets("\r\n0\r\n\r\n");
    const bodyOf = (text: string): string => text.slice(text.indexOf("\r\n\r\n") + 4);
    if (hop === "http1") {
      t.equal(bodyOf(upstream.text).length, drops.length);
      t.equal(bodyOf(client.text).length, drops.length);
    }
    // Chunks are no part of a message: HTTP/2 carries what is there.
    t.equal(bodyOf(upstream.text).split("x").length, count + 1);
    t.equal(bodyOf(client.text).split("x").length, count + 1);
  }
});

t.test("a slow reader gets the end of the last reply", async (t) => {
  const body = "x".repeat(8 * mebibyte);
  const { pair } = await open(
    t,
    once("\r\n\r\n", (peer) => peer.socket.end(`HTTP/1.1 200 OK\r\n\r\n${body}`)),
    {
      hops: 1,
      timeouts: { lingerMs: 20 },
    },
  );
  const client = connect(t, pair.port);
  client.write("GET / HTTP/1.0\r\n\r\n");
  await client.gets("\r\n\r\n");
  client.socket.pause();
  await new Promise((resolve) => setTimeout(resolve, 200));
  client.socket.resume();
  const text = await client.over();
  t.equal(text.length - text.indexOf("\r\n\r\n") - 4, body.length);
  t.equal(client.error, "");
});

t.test("draining", async (t) => {
  const { upstream, pair } = await open(t, () => {}, { hops: 1 });
  const busy = connect(t, pair.port);
  const idle = connect(t, pair.port);
  busy.write(get);
  const peer = await upstream.connection(0);
  await peer.gets("\r\n\r\n");
  const drained = pair.listeners[0]?.drain();
  t.equal(await idle.over(), "", "idle connections close");
  peer.write(okText);
  t.match(await busy.over(), /^HTTP\/1\.1 200 OK\r\n[^]*Connection: close\r\n\r\nok$/, "busy ones finish");
  idle.socket.destroy();
  busy.socket.destroy();
  await drained;
  t.equal(pair.clients, 0);
});

t.test("5,000 requests, 256 at a time, through two mTLS hops: none gets another's answer", async (t) => {
  const server = http.createServer((request, response) => {
    const parts: Buffer[] = [];
    request.on("data", (part: Buffer) => parts.push(part));
    request.on("end", () => {
      const body = Buffer.concat(parts);
      const nonce = request.headers["x-nonce"] as string;
      const reply = Buffer.from(`${nonce} ${request.url ?? ""} ${body.toString("latin1")}`, "latin1");
      const send = (): void => {
        // Half of them chunked.
        if (Number(nonce) % 2 === 0) response.setHeader("content-length", reply.length);
        response.setHeader("x-nonce", nonce);
        if (request.method === "HEAD") return void response.end();
        response.write(reply.subarray(0, 3));
        setImmediate(() => response.end(reply.subarray(3)));
      };
      if (Number(nonce) % 3 === 0) setImmediate(send);
      else send();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  const pair = await ProxyPair.open(t, {
    upstreamPort: (server.address() as AddressInfo).port,
    pool: { maxConnections: 100 },
  });
  const agent = new http.Agent({ keepAlive: true, maxSockets: 256 });
  t.teardown(() => agent.destroy());
  let wrong = 0;
  const ask = (nonce: number): Promise<void> =>
    new Promise((resolve, reject) => {
      const method = nonce % 5 === 0 ? "HEAD" : nonce % 5 < 3 ? "POST" : "GET";
      const body = method === "POST" ? `${nonce}:`.repeat((nonce % 700) + 1) : "";
      const headers = {
        "x-nonce": String(nonce),
        ...(body !== "" && nonce % 2 === 0 ? { "content-length": body.length } : {}),
      };
      const request = http.request({ port: pair.port, path: `/${nonce}`, method, agent, headers });
      request.on("error", reject);
      request.on("response", (response: IncomingMessage) => {
        const parts: Buffer[] = [];
        response.on("data", (part: Buffer) => parts.push(part));
        response.on("error", reject);
        response.on("end", () => {
          const text = Buffer.concat(parts).toString("latin1");
          const isRight = text === (method === "HEAD" ? "" : `${nonce} /${nonce} ${body}`);
          if (!isRight || response.headers["x-nonce"] !== String(nonce) || response.statusCode !== 200)
            wrong++;
          resolve();
        });
      });
      if (body !== "" && nonce % 2 === 1) request.write(body.slice(0, 1));
      request.end(body !== "" && nonce % 2 === 1 ? body.slice(1) : body);
    });
  let next = 0;
  await Promise.all(
    Array.from({ length: 256 }, async () => {
      while (next < 5000) await ask(next++);
    }),
  );
  t.equal(wrong, 0);
  t.equal(pair.calls.total, 10_000);
  t.ok(
    pair.pools.every((pool) => pool.opened <= 100),
    "within the pool's bound",
  );
});

t.test("property: bodies arrive byte for byte, however they are cut", async (t) => {
  const { upstream, pair } = await open(t);
  const body = fc.oneof(
    fc.uint8Array({ maxLength: 300 }),
    fc.uint8Array({ minLength: 20_000, maxLength: 70_000 }).map((bytes) => bytes),
  );
  const message = fc.record({
    body,
    /** Cut points of the chunked coding; undefined = Content-Length. */
    chunks: fc.option(fc.array(fc.nat(), { maxLength: 8 }), { nil: undefined }),
    slices: fc.array(fc.nat(), { maxLength: 12 }),
    turns: fc.array(fc.nat({ max: 3 }), { minLength: 1, maxLength: 5 }),
  });
  type Message = { body: Uint8Array; chunks: number[] | undefined; slices: number[]; turns: number[] };
  const encode = (startLine: string, { body, chunks }: Message): Buffer => {
    const bytes = Buffer.from(body);
    if (chunks === undefined)
      return Buffer.concat([Buffer.from(`${startLine}\r\nContent-Length: ${bytes.length}\r\n\r\n`), bytes]);
    const coded = cut(bytes, chunks)
      .filter((part) => part.length > 0)
      .flatMap((part) => [Buffer.from(`${part.length.toString(16)}\r\n`), part, Buffer.from("\r\n")]);
    return Buffer.concat([
      Buffer.from(`${startLine}\r\nTransfer-Encoding: chunked\r\n\r\n`),
      ...coded,
      Buffer.from("0\r\n\r\n"),
    ]);
  };
  const trickle = async (peer: RawPeer, bytes: Buffer, { slices, turns }: Message): Promise<void> => {
    for (const [i, slice] of cut(bytes, slices).entries()) {
      if (!peer.socket.writable) return;
      peer.socket.write(slice);
      for (let turn = turns[i % turns.length] as number; turn > 0; turn--) await new Promise(setImmediate);
    }
  };
  await fc.assert(
    fc.asyncProperty(message, message, async (request: Message, response: Message) => {
      const first = upstream.connections.length;
      let got = Buffer.alloc(0);
      let seen: readonly number[] = [];
      let isReplied = false;
      const take: RawPeer["onData"] = (peer, chunk) => {
        got = Buffer.concat([got, chunk]);
        const { messages } = readRequests([got]);
        if (isReplied || messages[0]?.isComplete !== true) return;
        isReplied = true;
        seen = [...messages[0].body];
        void trickle(peer, encode("HTTP/1.1 200 OK", response), response);
      };
      upstream.script = (peer) => (peer.onData = take);
      for (const peer of upstream.connections.slice(0, first)) peer.onData = take;
      const client = connect(t, pair.port);
      await trickle(client, encode(`POST / HTTP/1.1\r\nHost: a.test`, request), request);
      const parsed = (): ReturnType<typeof readResponses>["messages"][0] | undefined =>
        readResponses([client.bytes]).messages[0];
      await client.wait("response", () => parsed()?.isComplete === true);
      client.socket.destroy();
      return (
        Buffer.from(seen).equals(Buffer.from(request.body)) &&
        parsed()?.body.equals(Buffer.from(response.body)) === true
      );
    }),
    { numRuns: 60 },
  );
  t.pass("60 runs");
});

t.test("of twenty requests that fail at once three are repeated", async (t) => {
  const seen = new Set<string>();
  const held: RawPeer[] = [];
  const { pair } = await open(
    t,
    (peer) => {
      peer.onData = (_, chunk) => {
        const [, path = ""] = chunk.toString("latin1").split(" ");
        if (seen.has(path)) held.push(peer);
        else peer.write("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n");
        seen.add(path);
      };
    },
    {
      hops: 1,
      layers: (wheel) =>
        defaultRetry(wheel, {
          config: { ...retryDefaults, attempts: 3 },
          budget: new RetryBudget({ percent: 100, minRetriesPerSecond: 100, windowMs: 10_000 }),
          places: new RetryPlaces(3),
        }),
    },
  );
  const clients = Array.from({ length: 20 }, (_, n) => {
    const client = connect(t, pair.port);
    client.write(`GET /${n} HTTP/1.1\r\n${host}\r\n`);
    return client;
  });
  await eventually("three repeated", () => held.length === 3);
  const failed = (): number => clients.filter(({ text }) => text.startsWith("HTTP/1.1 503")).length;
  await eventually("the others answered", () => failed() === 17);
  for (const peer of held) peer.write(okText);
  await Promise.all(clients.map((client) => client.gets("\r\n\r\n")));
  t.equal(failed(), 17);
  t.equal(held.length, 3, "none was sent a third time");
});
