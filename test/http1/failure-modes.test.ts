/** The failure modes of HTTP/1.1 provoked on real sockets through one and two hops. */
import { existsSync, readFileSync } from "node:fs";
import type { Socket } from "node:net";
import path from "node:path";
import t, { type Test } from "tap";
import type { Layer } from "../../src/stack/service.js";
import { answer, ByteUpstream, okText, once, type Script } from "../support/byte-upstream.js";
import { decodeProbe, probeRefusals, type ProbeCase } from "../support/http11probe.js";
import { ProxyPair, type PairOptions } from "../support/proxy-pair.js";
import { connect, converse } from "../support/raw-client.js";

const host = "Host: a.test\r\n";
const get = `GET / HTTP/1.1\r\n${host}\r\n`;
const smuggled = `GET /smuggled HTTP/1.1\r\n${host}\r\n`;

async function open(t: Test, script: Script = answer(), options: Partial<PairOptions> = {}) {
  const upstream = await ByteUpstream.open(t, script);
  const pair = await ProxyPair.open(t, { upstreamPort: upstream.port, ...options });
  return { upstream, pair };
}

const lines = (...fields: string[]): string => fields.map((field) => `${field}\r\n`).join("");
const post = (...fields: string[]): string => `POST / HTTP/1.1\r\n${host}${lines(...fields)}\r\n`;

t.test("rows 1 to 13: what must not be understood", async (t) => {
  const { upstream, pair } = await open(t, answer(), { hops: 1 });
  const chunked = "5\r\nhello\r\n0\r\n\r\n";
  const bodiless: [row: number, status: number, name: string, text: string][] = [
    [1, 400, "CL and TE", post("Content-Length: 4", "Transfer-Encoding: chunked") + chunked],
    [1, 400, "TE and CL", post("Transfer-Encoding: chunked", "Content-Length: 4") + chunked],
    [2, 400, "chunked, cow", post("Transfer-Encoding: chunked, cow")],
    [2, 400, "xchunked", post("Transfer-Encoding: xchunked") + chunked],
    [2, 400, "VT before chunked", post("Transfer-Encoding: \x0bchunked") + chunked],
    [2, 400, ",chunked", post("Transfer-Encoding: ,chunked") + chunked],
    [2, 400, "quoted", post('Transfer-Encoding: "chunked"') + chunked],
    [2, 501, "gzip", post("Transfer-Encoding: gzip")],
    [2, 400, "two TE", post("Transfer-Encoding: chunked", "Transfer-Encoding: chunked") + chunked],
    [2, 400, "TE folded", post("Transfer-Encoding:\r\n chunked") + chunked],
    [3, 400, "TE in 1.0", `POST / HTTP/1.0\r\n${host}Transfer-Encoding: chunked\r\n\r\n${chunked}`],
    [3, 400, "1.0 without length", `POST / HTTP/1.0\r\n${host}\r\nhello`],
    ...["", "+5", "-0", "0x5", "5_0", "5, 5", "9223372036854775808"].map(
      (length): [number, number, string, string] => [
        4,
        400,
        `CL ${length}`,
        post(`Content-Length: ${length}`) + "hello",
      ],
    ),
    [4, 400, "two CL", post("Content-Length: 5", "Content-Length: 5") + "hello"],
    [5, 400, "obs-fold", post("X: a\r\n b", "Content-Length: 0")],
    [6, 400, "bare LF", "GET / HTTP/1.1\nHost: a.test\n\n"],
    [6, 400, "CRLF CR X", `GET / HTTP/1.1\r\n${host}\r\rX`],
    [6, 400, "CR in a value", post("X: a\rb")],
    [7, 400, "space before the colon", post("X : a")],
    [7, 400, "leading space", `GET / HTTP/1.1\r\n ${host}\r\n`],
    [7, 400, "empty name", post(": a")],
    [7, 400, "no token", post("X@: a")],
    [8, 400, "NUL in a value", post("X: a\0b")],
    [8, 400, "high byte in a name", post("X\xff: a")],
    [12, 431, "201 lines", post(...Array.from({ length: 201 }, (_, i) => `X-${i}: a`))],
    [
      12,
      431,
      "CL is line 201",
      post(...Array.from({ length: 199 }, () => "X: a"), "Y: b", "Content-Length: 9"),
    ],
    [13, 431, "one field of 1 MiB", post(`X: ${"a".repeat(1 << 20)}`)],
    [13, 414, "target of 64 KiB", `GET /${"a".repeat(65536)} HTTP/1.1\r\n${host}\r\n`],
    [16, 400, "no Host", "GET / HTTP/1.1\r\n\r\n"],
    [16, 400, "two Hosts", `GET / HTTP/1.1\r\n${host}${host}\r\n`],
    [16, 400, "userinfo", "GET / HTTP/1.1\r\nHost: b@a.test\r\n\r\n"],
    [17, 400, "fragment", `GET /a#b HTTP/1.1\r\n${host}\r\n`],
    [26, 417, "unknown expectation", post("Expect: 200-ok", "Content-Length: 5")],
    [41, 501, "CONNECT", "CONNECT a.test:1 HTTP/1.1\r\nHost: a.test:1\r\n\r\n"],
    [41, 501, "TRACE", `TRACE / HTTP/1.1\r\n${host}\r\n`],
    [41, 505, "half a preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\n"],
  ];
  for (const [row, status, name, text] of bodiless) {
    const reply = await converse(t, pair.port, text + smuggled);
    const statuses = [...reply.matchAll(/HTTP\/1\.1 (\d+)/g)].map((match) => Number(match[1]));
    t.strictSame(statuses, [status], `row ${row}: ${name}: one reply`);
    t.match(reply, /\r\nConnection: close\r\n/, `row ${row}: ${name}: says that it closes`);
  }
  t.equal(upstream.connections.length, 0, "nothing reached the upstream");

  // Faults that come after the head: the request may have begun upstream, but what follows never gets there.
  const inBody: [row: number, name: string, text: string][] = [
    ...["0x5", "5_0", "+5", " 5", "5 ", "11111111111111111", ""].map((size): [number, string, string] => [
      10,
      `chunk size ${JSON.stringify(size)}`,
      `${size}\r\nhello\r\n0\r\n\r\n`,
    ]),
    [10, "no CRLF after the data", "5\r\nhello0\r\n\r\n"],
    [9, "bare LF after an extension", "5;a\nhello\r\n0\r\n\r\n"],
    [9, "bare CR in an extension", "5;a\rb\r\nhello\r\n0\r\n\r\n"],
    [9, "64 KiB of extensions", `5;${"a".repeat(65536)}\r\nhello\r\n0\r\n\r\n`],
    [9, "many tiny extensions", "1;a=b\r\nx\r\n".repeat(10_000) + "0\r\n\r\n"],
  ];
  for (const [row, name, body] of inBody) {
    for (const isSplit of [false, true]) {
      const client = connect(t, pair.port);
      const size = upstream.size;
      client.write(post("Transfer-Encoding: chunked") + (isSplit ? "" : body + smuggled));
      if (isSplit) {
        await upstream.wait("the head", () => upstream.size > size);
        client.write(body + smuggled);
      }
      const reply = await client.over();
      // Cut off or refused; in any case not an honest second answer.
      const statuses = [...reply.matchAll(/HTTP\/1\.1 (\d+)/g)].map((match) => match[1]);
      t.ok(statuses.length <= 1, `row ${row}: ${name}: at most one reply`);
      client.socket.destroy();
    }
  }
  await pair.idle();
  t.notMatch(upstream.text, /smuggled/, "no smuggled request");
});

t.test("row 9: extensions are dropped and the body is chunked anew", async (t) => {
  const { upstream, pair } = await open(
    t,
    once("0\r\n\r\n", (peer) => peer.write(okText)),
  );
  const client = connect(t, pair.port);
  client.write(post("Transfer-Encoding: chunked") + '5;a=b;c="d;e"\r\nhello\r\n0;x\r\n\r\n');
  await client.gets("ok");
  t.match(upstream.text, /\r\n\r\n5\r\nhello\r\n0\r\n\r\n$/);
});

t.test("row 11: a body that is owed", async (t) => {
  const { upstream, pair } = await open(t, answer(), { hops: 1 });
  await t.test("to a local reply", async (t) => {
    // No upstream at this port: 502 before the body has come.
    const lost = await ProxyPair.open(t, { upstreamPort: 1, hops: 1 });
    const head = post("Content-Length: 50");
    const reply = await converse(t, lost.port, head + "x");
    t.match(reply, /^HTTP\/1\.1 502 .*\r\n(?:.*\r\n)*Connection: close\r\n/);
    const whole = connect(t, lost.port);
    whole.write(post("Content-Length: 5") + "hello" + get);
    await whole.wait("two replies", () => whole.text.split("x-remora-error").length === 3);
    t.notMatch(whole.text, /Connection: close/, "a body that is here is no reason to close");
  });
  await t.test("GET with a body that the upstream does not wait for", async (t) => {
    const client = connect(t, pair.port);
    client.write(`GET /a HTTP/1.1\r\n${host}Content-Length: 30\r\n\r\n`);
    await client.gets("ok");
    client.write(smuggled);
    await client.over();
    t.equal(client.text, okText, "one reply, then the end");
    await upstream.wait("upstream connection is dropped", () => upstream.open === 0);
    const next = connect(t, pair.port);
    next.write(get);
    await next.gets("ok");
    t.equal(upstream.connections.length, 2, "on a connection of its own");
  });
});

t.test("row 12: response with too many lines", async (t) => {
  const many = lines(...Array.from({ length: 201 }, () => "X: a"));
  const { pair } = await open(t, answer(`HTTP/1.1 200 OK\r\n${many}Content-Length: 0\r\n\r\n`));
  t.match(
    await converse(t, pair.port, get.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n")),
    /^HTTP\/1\.1 502 /,
  );
});

t.test("row 14: slow heads, idle connections, stalled requests", async (t) => {
  await t.test("head that never ends: 408", async (t) => {
    const { upstream, pair } = await open(t, answer(), { hops: 1, timeouts: { headMs: 40 } });
    const reply = await converse(t, pair.port, "GET / HTTP/1.1\r\nHost");
    t.match(reply, /^HTTP\/1\.1 408 [^]*x-remora-error: request_timeout[^]*Connection: close/);
    t.equal(upstream.connections.length, 0);
  });
  await t.test("idle: closed without a word", async (t) => {
    const { pair } = await open(t, answer(), { hops: 1, timeouts: { idleMs: 40 } });
    t.equal(await converse(t, pair.port, ""), "");
    t.equal(await converse(t, pair.port, get), okText);
    // An empty line after a body is no beginning of a request.
    t.equal(await converse(t, pair.port, `${get}\r\n`), okText);
  });
  await t.test("nothing moves: 504", async (t) => {
    const { upstream, pair } = await open(t, () => {}, { hops: 1, timeouts: { streamIdleMs: 40 } });
    const client = connect(t, pair.port);
    client.write(get);
    t.match(
      await client.gets("\r\n\r\nstream idle"),
      /^HTTP\/1\.1 504 [^]*x-remora-error: stream_idle_timeout/,
    );
    await upstream.wait("upstream told", () => upstream.open === 0);
  });
  await t.test("nothing moves, and a layer watches over that: not the connection's affair", async (t) => {
    const own: Layer = (inner) => ({
      call(request, reply) {
        request.hasOwnIdle = request.head.target === "/own";
        return inner.call(request, reply);
      },
    });
    const timeouts = { streamIdleMs: 40 };
    const { upstream, pair } = await open(t, () => {}, { hops: 1, timeouts, layers: () => [own] });
    const client = connect(t, pair.port);
    client.write(get.replace("GET / ", "GET /own "));
    await upstream.wait("a request", () => upstream.open === 1);
    const later = connect(t, pair.port);
    later.write(get);
    await later.gets("\r\n\r\nstream idle");
    t.equal(client.text, "", "the earlier one still waits");
  });
  await t.test("nothing moves inside of a response: cut off", async (t) => {
    const script = answer("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
    const { pair } = await open(t, script, { hops: 1, timeouts: { streamIdleMs: 40 } });
    const client = connect(t, pair.port);
    client.write(get);
    await client.over();
    t.equal(client.error, "ECONNRESET");
  });
  await t.test("a pipelined half of a head has its full time", async (t) => {
    const { upstream, pair } = await open(t, () => {}, { hops: 1, timeouts: { headMs: 150 } });
    const client = connect(t, pair.port);
    client.write(`${get}GET /second HTTP/1.1\r\n`);
    const peer = await upstream.connection(0);
    await new Promise((resolve) => setTimeout(resolve, 200));
    peer.write(okText);
    await client.gets("ok");
    client.write(`${host}\r\n`);
    await peer.gets("/second");
    t.notMatch(client.text, /408/);
  });
});

t.test("row 15: 1,000 pipelined requests", async (t) => {
  const { upstream, pair } = await open(
    t,
    answer((head) => `HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n${head.slice(4, 14).padEnd(1000)}`),
  );
  await t.test("are answered in order", async (t) => {
    const client = connect(t, pair.port);
    const name = (i: number): string => `/${String(i).padStart(6, "0")}`;
    client.write(Array.from({ length: 1000 }, (_, i) => `GET ${name(i)} HTTP/1.1\r\n${host}\r\n`).join(""));
    // By size first: looking for text in all that came, at each chunk, would be most of the work.
    await client.wait("all 1,000", () => client.size >= 1000 * 1040);
    await client.gets(name(999));
    const order = [...client.text.matchAll(/\r\n\r\n(\/\d{6})/g)].map((match) => match[1]);
    t.strictSame(
      order,
      Array.from({ length: 1000 }, (_, i) => name(i)),
    );
  });
  await t.test("and held back while the client does not read", async (t) => {
    const calls = pair.calls.total;
    const client = connect(t, pair.port);
    await client.wait("connected", () => !client.socket.connecting);
    client.socket.pause();
    const flood = `GET /${"a".repeat(20)} HTTP/1.1\r\n${host}\r\n`.repeat(1000);
    for (let i = 0; i < 30; i++) client.write(flood);
    // Stands still once the kernel's buffers are full.
    let served = -1;
    while (served !== pair.calls.total - calls) {
      served = pair.calls.total - calls;
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
    t.ok(served / 2 < 15_000, `stops after ${served / 2}`);
    client.socket.resume();
    // Step by step: on a busy machine it is the pace that counts.
    for (let count = 3000; count <= 30_000; count += 3000)
      await client.wait(`${count} of 30,000`, () => client.size >= count * 1040);
    t.ok(upstream.size > 0);
  });
});

t.test("row 16: one authority", async (t) => {
  const { upstream, pair } = await open(t);
  const client = connect(t, pair.port);
  client.write("GET http://B.test:80/x HTTP/1.1\r\nHost: a.test\r\n\r\n");
  await client.gets("ok");
  t.match(upstream.text, /^GET \/x HTTP\/1\.1\r\nHost: b\.test:80\r\n/);
});

t.test("row 21: names of Object.prototype are names", async (t) => {
  const { upstream, pair } = await open(t);
  const client = connect(t, pair.port);
  client.write(`GET / HTTP/1.1\r\n${host}__proto__: a\r\nconstructor: b\r\ntoString: c\r\n\r\n`);
  await client.gets("ok");
  t.match(upstream.text, /\r\n__proto__: a\r\nconstructor: b\r\ntoString: c\r\n/);
});

t.test("row 24: hop-by-hop fields end here, nominated ones too", async (t) => {
  const { upstream, pair } = await open(t);
  const client = connect(t, pair.port);
  client.write(
    `GET / HTTP/1.1\r\n${host}Connection: close, X-Mine, Authorization, X-Forwarded-For, Host\r\n` +
      "X-Mine: 1\r\nAuthorization: kept\r\nX-Forwarded-For: 1.2.3.4\r\nKeep-Alive: timeout=9\r\n" +
      "Proxy-Authorization: secret\r\nProxy-Connection: keep-alive\r\nTE: gzip\r\n\r\n",
  );
  await client.over();
  t.equal(upstream.text, `GET / HTTP/1.1\r\n${host}Authorization: kept\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n`);
});

t.test("row 26: Expect: 100-continue", async (t) => {
  const expecting = post("Expect: 100-continue", "Content-Length: 5");
  await t.test("100 passes once, then the body, then the reply", async (t) => {
    const { upstream, pair } = await open(t, (peer) => {
      once("\r\n\r\n", () => peer.write("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"))(
        peer,
        0,
      );
      const first = peer.onData;
      peer.onData = (it, chunk) => {
        first(it, chunk);
        if (peer.text.endsWith("hello") || peer.text.endsWith(get)) peer.write(okText);
      };
    });
    const client = connect(t, pair.port);
    client.write(expecting);
    await client.gets("100 Continue");
    t.match(upstream.text, /\r\nExpect: 100-continue\r\n/);
    client.write("hello");
    t.equal(await client.gets("ok"), `HTTP/1.1 100 Continue\r\n\r\n${okText}`);
    client.write(get);
    await client.wait("the next reply", () => client.text.split("200 OK").length === 3);
  });
  await t.test("a final reply instead: delivered, no body sent, no connection reused", async (t) => {
    const { upstream, pair } = await open(t, answer("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno"));
    const client = connect(t, pair.port);
    client.write(expecting);
    t.match(await client.over(), /^HTTP\/1\.1 403 Forbidden\r\n[^]*Connection: close\r\n\r\nno$/);
    await upstream.wait("dropped", () => upstream.open === 0);
    t.notMatch(upstream.text, /hello/);
  });
  await t.test("a final 200 instead", async (t) => {
    const { upstream, pair } = await open(t);
    const client = connect(t, pair.port);
    client.write(expecting);
    t.match(await client.over(), /^HTTP\/1\.1 200 OK\r\n[^]*Connection: close\r\n/);
    await upstream.wait("dropped", () => upstream.open === 0);
  });
  await t.test("the upstream says nothing: the client sends when it likes", async (t) => {
    const { pair } = await open(
      t,
      once("hello", (peer) => peer.write(okText)),
    );
    const client = connect(t, pair.port);
    client.write(expecting);
    client.write("hello");
    t.equal(await client.gets("ok"), okText);
  });
  await t.test("nobody moves: 504", async (t) => {
    const { pair } = await open(t, () => {}, { hops: 1, timeouts: { streamIdleMs: 40 } });
    t.match(await converse(t, pair.port, expecting), /^HTTP\/1\.1 504 [^]*Connection: close/);
  });
  await t.test("with Content-Length: 0 it is not passed on", async (t) => {
    const { upstream, pair } = await open(t);
    const client = connect(t, pair.port);
    client.write(post("Expect: 100-continue", "Content-Length: 0"));
    await client.gets("ok");
    t.notMatch(upstream.text, /Expect/i);
  });
});

t.test("row 27: interim responses", async (t) => {
  const hints = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n";
  await t.test("103 passes, an unasked 100 does not", async (t) => {
    const { pair } = await open(t, answer(`HTTP/1.1 100 Continue\r\n\r\n${hints}${okText}`));
    const client = connect(t, pair.port);
    client.write(get);
    t.equal(await client.gets("ok"), hints + okText);
  });
  await t.test("never to HTTP/1.0", async (t) => {
    const { pair } = await open(t, answer(hints + okText));
    const reply = await converse(t, pair.port, "GET / HTTP/1.0\r\n\r\n");
    t.match(reply, /^HTTP\/1\.1 200 OK\r\n/);
    t.notMatch(reply, /103/);
  });
  await t.test("101 without an upgrade: 502, upstream closed", async (t) => {
    const { upstream, pair } = await open(
      t,
      answer("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nbytes"),
    );
    const client = connect(t, pair.port);
    client.write(get);
    t.match(await client.gets("\r\n\r\nup"), /^HTTP\/1\.1 502 /);
    await upstream.wait("closed", () => upstream.open === 0);
    t.notMatch(client.text, /bytes/);
  });
  await t.test("endless ones: 502", async (t) => {
    const { pair } = await open(t, answer(hints.repeat(40)));
    const client = connect(t, pair.port);
    client.write(get);
    await client.gets("HTTP/1.1 502 ");
  });
});

t.test("row 28: early responses", async (t) => {
  const large = `HTTP/1.1 413 Content Too Large\r\nContent-Length: 20000\r\n\r\n${"x".repeat(20_000)}`;
  const endings: Record<string, (socket: Socket) => void> = {
    FIN: (socket) => socket.end(),
    "close over unread bytes": (socket) => socket.destroy(),
    RST: (socket) => socket.resetAndDestroy(),
    nothing: () => {},
  };
  for (const hops of [1, 2] as const) {
    for (const [ending, end] of Object.entries(endings)) {
      await t.test(`413 while an upload goes on, then ${ending}, ${hops} hops`, async (t) => {
        const { upstream, pair } = await open(
          t,
          (peer) => {
            peer.onData = () => {
              if (peer.size < 200_000 || peer.socket.writableEnded) return;
              peer.onData = () => {};
              peer.socket.pause();
              peer.socket.write(large, "latin1", () => end(peer.socket));
            };
          },
          { hops },
        );
        for (let i = 0; i < 10; i++) {
          const client = connect(t, pair.port);
          client.write(post("Content-Length: 100000000"));
          const piece = Buffer.alloc(64 * 1024);
          let sent = 0;
          const upload = (): void => {
            while (sent < 100_000_000 && !client.isOver && client.socket.writable) {
              sent += piece.length;
              if (!client.socket.write(piece)) return void client.socket.once("drain", upload);
            }
          };
          upload();
          await client.wait("the whole response", () => client.text.includes("x".repeat(20_000)));
          t.match(client.text, /^HTTP\/1\.1 413 /);
          t.ok(sent < 100_000_000, `upload was stopped after ${sent}`);
          client.socket.destroy();
        }
        await pair.idle();
        for (const peer of upstream.connections) peer.socket.resume();
        await upstream.wait("no upstream connection is kept", () => upstream.open === 0);
      });
    }
  }
});

t.test("row 29: bodies that must not be", async (t) => {
  const next = `${get.replace("GET /", "GET /next")}`;
  const cases: [name: string, method: string, reply: string, seen: string][] = [
    [
      "HEAD with a body",
      "HEAD",
      "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
      "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n",
    ],
    ["204 with a body", "GET", "HTTP/1.1 204 No Content\r\n\r\nevil", "HTTP/1.1 204 No Content\r\n\r\n"],
    [
      "204 with a length",
      "GET",
      "HTTP/1.1 204 No Content\r\nContent-Length: 4\r\n\r\nevil",
      "HTTP/1.1 204 No Content\r\n\r\n",
    ],
    [
      "304 with a body",
      "GET",
      "HTTP/1.1 304 Not Modified\r\nContent-Length: 4\r\n\r\nevil",
      "HTTP/1.1 304 Not Modified\r\nContent-Length: 4\r\n\r\n",
    ],
    ["200 with more than it said", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokevil", okText],
    [
      "Content-Length: 0",
      "GET",
      "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
      "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    ],
  ];
  for (const hops of [1, 2] as const) {
    for (const [name, method, reply, seen] of cases) {
      const { upstream, pair } = await open(
        t,
        (peer, index) => answer(index === 0 ? reply : okText)(peer, index),
        { hops },
      );
      const client = connect(t, pair.port);
      client.write(get.replace("GET", method));
      await client.gets(seen);
      client.write(next);
      await client.wait(
        "both replies",
        () => client.size >= seen.length + (name === "Content-Length: 0" ? seen : okText).length,
      );
      t.equal(client.text, seen + (name === "Content-Length: 0" ? seen : okText), `${name}, ${hops} hops`);
      t.equal(upstream.connections.length, name === "Content-Length: 0" ? 1 : 2, `${name}: connections`);
      t.notMatch(upstream.text, /transfer-encoding/i, `${name}: no framing added`);
    }
  }
  const lost = await ProxyPair.open(t, { upstreamPort: 1, hops: 1 });
  const client = connect(t, lost.port);
  client.write(get.replace("GET", "HEAD") + get);
  await client.wait("two heads", () => client.text.split("HTTP/1.1 502").length === 3);
  t.match(client.text, /^[^]*?\r\n\r\nHTTP\/1\.1 502 /, "a local reply to HEAD has no body either");
});

t.test("row 30: truncated responses are errors", async (t) => {
  const cases: [name: string, reply: string, isReset: boolean][] = [
    ["Content-Length short, FIN", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", false],
    ["Content-Length short, RST", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", true],
    ["no last chunk, FIN", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", false],
    ["no last chunk, RST", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", true],
    [
      "last chunk unfinished",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\n",
      false,
    ],
    ["bad chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nzz\r\n", false],
    ["until close, RST", "HTTP/1.1 200 OK\r\n\r\nhalf", true],
    ["until close, RST at once", "HTTP/1.1 200 OK\r\n\r\nhalf", true],
  ];
  for (const hops of [1, 2] as const) {
    for (const version of ["1.1", "1.0"]) {
      for (const [name, reply, isReset] of cases) {
        const { pair, upstream } = await open(t, () => {}, { hops });
        const client = connect(t, pair.port);
        client.write(get.replace("1.1", version));
        const peer = await upstream.connection(0);
        await peer.gets("\r\n\r\n");
        peer.write(reply);
        // A reset takes back what was not read yet.
        if (isReset) {
          if (!name.endsWith("at once")) await client.gets("half");
          peer.socket.resetAndDestroy();
        } else peer.socket.end();
        await client.over();
        const label = `${name}, HTTP/${version}, ${hops} hops`;
        t.equal(client.error, "ECONNRESET", label);
        t.notMatch(client.text, /\r\n0\r\n\r\n$/, `${label}: no clean end`);
      }
    }
  }
  const { pair } = await open(
    t,
    once("\r\n\r\n", (peer) => peer.socket.end("HTTP/1.1 200 OK\r\n\r\nwhole")),
  );
  t.match(
    await converse(t, pair.port, "GET / HTTP/1.0\r\n\r\n"),
    /\r\n\r\nwhole$/,
    "a clean close is a clean end",
  );
});

t.test("row 34: trailers", async (t) => {
  const trailers =
    "0\r\nX-Sum: 1\r\nContent-Length: 9\r\nHost: evil\r\nAuthorization: evil\r\ngrpc-status: 0\r\n\r\n";
  const { upstream, pair } = await open(
    t,
    once("grpc-status", (peer) =>
      peer.write(
        `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nok\r\n${trailers}`,
      ),
    ),
  );
  const client = connect(t, pair.port);
  client.write(post("Transfer-Encoding: chunked") + `5\r\nhello\r\n${trailers}`);
  await client.gets("grpc-status: 0\r\n\r\n");
  // HTTP/2 writes lower case, and restores the case of heads only.
  const passed = "0\r\nx-sum: 1\r\ngrpc-status: 0\r\n\r\n";
  t.ok(upstream.text.endsWith(`5\r\nhello\r\n${passed}`), "of requests");
  t.ok(client.text.endsWith(`2\r\nok\r\n${passed}`), "of responses");
  t.match(
    await converse(
      t,
      pair.port,
      `${post("Transfer-Encoding: chunked")}0\r\nX: ${"a".repeat(20_000)}\r\n\r\n`,
    ),
    /^HTTP\/1\.1 431 /,
    "over their limit",
  );
});

t.test("row 34: trailers that the first hop lets in pass the second", async (t) => {
  // Just below the limit as HTTP/1 counts it, far above as HTTP/2 does.
  const many = Array.from({ length: 195 }, (_, i) => `x-${i}: ${"a".repeat(70)}\r\n`).join("");
  const { upstream, pair } = await open(
    t,
    once("x-194: ", (peer) =>
      peer.write(`HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n${many}\r\n`),
    ),
  );
  const client = connect(t, pair.port);
  client.write(post("Transfer-Encoding: chunked") + `5\r\nhello\r\n0\r\n${many}\r\n`);
  await client.gets(`${many}\r\n`);
  t.ok(upstream.text.endsWith(`${many}\r\n`));
});

t.test("row 40: HTTP/2 and TLS are not upgraded to", async (t) => {
  const { upstream, pair } = await open(t);
  const offers = [
    "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__",
    "Connection: Upgrade\r\nUpgrade: TLS/1.0",
    "Connection: Upgrade\r\nUpgrade: tcp",
    "Connection: Upgrade\r\nUpgrade: websocket, foo",
    "Upgrade: websocket",
  ];
  for (const offer of offers) {
    const client = connect(t, pair.port);
    client.write(`GET / HTTP/1.1\r\n${host}${offer}\r\n\r\n`);
    t.equal(await client.gets("ok"), okText);
  }
  t.notMatch(upstream.text, /upgrade|http2-settings/i);
});

t.test("row 42: what upstreams must not say", async (t) => {
  const cases: [name: string, reply: string][] = [
    ["garbage", "hello world\r\n\r\n"],
    ["HTTP/0.9", "<html>"],
    ["bad status line", "HTTP/1.1 2OO OK\r\n\r\n"],
    ["HTTP/2", "HTTP/2 200\r\n\r\n"],
    ["bad name", "HTTP/1.1 200 OK\r\nX Y: a\r\n\r\n"],
    ["1 MiB field", `HTTP/1.1 200 OK\r\nX: ${"a".repeat(1 << 20)}\r\n\r\n`],
    ["CL and TE", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"],
    ["two CL", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"],
    ["leading newline", "\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"],
  ];
  for (const [name, reply] of cases) {
    const { upstream, pair } = await open(t, answer(reply));
    const client = connect(t, pair.port);
    client.write(get);
    t.match(await client.gets("\r\n\r\nupstream"), /^HTTP\/1\.1 502 /, name);
    await upstream.wait("closed", () => upstream.open === 0);
  }
});

t.test("row 42: other protocols that have lines are told at once, in both directions", async (t) => {
  const { upstream, pair } = await open(t, answer("220 mail.test ESMTP\r\n"));
  const mail = connect(t, pair.port);
  mail.write(get);
  t.match(
    await mail.gets("correct the service's protocol"),
    /^HTTP\/1\.1 502 [^]*begins without a status line/,
  );
  await upstream.wait("closed", () => upstream.open === 0);
  const redis = connect(t, pair.port);
  redis.write("*1\r\n$4\r\nPI");
  t.match(
    await redis.gets("correct the service's protocol"),
    /^HTTP\/1\.1 400 [^]*begins without a request line/,
  );
  const slow = connect(t, pair.port);
  for (const byte of "GET / HTTP/1.1\r\nHo") slow.write(byte);
  slow.write("st: api.test\r\n");
  await new Promise((resolve) => setTimeout(resolve, 50));
  t.equal(slow.text, "", "a head that is slow is one all the same");
});

const folder =
  process.env["REMORA_CORPORA"] ?? path.resolve(import.meta.dirname, "../../../../shared/corpora");
const skip = existsSync(folder) ? false : `no corpora at ${folder}`;

/** No HTTP/1.1, but the listener speaks HTTP/2 as well. */
const http2Preface = "MAL-H2-PREFACE";

t.test("Http11Probe's cases on a live server", { skip }, async (t) => {
  const cases = JSON.parse(readFileSync(path.join(folder, "http11probe.json"), "utf8")) as ProbeCase[];
  const { upstream, pair } = await open(t, answer(), {
    hops: 1,
    timeouts: { headMs: 60, streamIdleMs: 60, idleMs: 60 },
  });
  const wanted = ({ id, status }: ProbeCase): number | undefined =>
    status === "Exact(400)" ? 400 : id === http2Preface ? undefined : probeRefusals.get(id);
  const ask = async ({ payload }: ProbeCase): Promise<number> =>
    Number(/^HTTP\/1\.1 (\d+)/.exec(await converse(t, pair.port, decodeProbe(payload)))?.[1]);
  // At once, because many of them end only by a timer.
  await Promise.all(
    cases
      .filter((probe) => wanted(probe) !== undefined)
      .map(async (probe) => t.equal(await ask(probe), wanted(probe), probe.id)),
  );
  t.equal(upstream.size, 0, "0 bytes at the upstream");
  await Promise.all(
    cases
      .filter((probe) => wanted(probe) === undefined)
      .map(async (probe) => t.match(String(await ask(probe)), /^(?:200|408|504|NaN)$/, probe.id)),
  );
  await pair.idle();
});
