/** {HTTP/1.1, HTTP/2} clients x {HTTP/1.1, HTTP/2} applications through two sidecars, over one HTTP/2 hop between them. */
import { randomBytes } from "node:crypto";
import t, { type Test } from "tap";
import type { WebSocket } from "ws";
import { openClient, ProtocolApp, sha256, type Exchange, type Protocol } from "../support/protocol-peers.js";
import { ProxyPair } from "../support/proxy-pair.js";

const kibibyte = 1024;
const sizes = [0, 1, 16 * kibibyte - 1, 16 * kibibyte, 16 * kibibyte + 1, 64 * kibibyte, 1024 * kibibyte];

async function open(t: Test, from: Protocol, to: Protocol) {
  const app = await ProtocolApp.open(t, to);
  const pair = await ProxyPair.open(t, { upstreamPort: app.port, app: to });
  const client = await openClient(t, from, pair.port);
  return { app, pair, client };
}

const outcome = ({ status, outcome }: Exchange): string => `${status} ${outcome}`;

for (const from of ["http1", "http2"] as const) {
  for (const to of ["http1", "http2"] as const) {
    const label = `${from} to ${to}`;

    t.test(`${label}: bodies of any size, declared or not`, async (t) => {
      const { app, pair, client } = await open(t, from, to);
      for (const size of sizes) {
        for (const isDeclared of [true, false]) {
          const body = randomBytes(size);
          const name = `${size} bytes${isDeclared ? ", declared" : ""}`;
          const exchange = client.send({
            method: "POST",
            path: `/echo${isDeclared ? "?declared" : ""}`,
            headers: isDeclared
              ? { "content-length": String(size) }
              : from === "http1"
                ? { "transfer-encoding": "chunked" }
                : {},
            body,
          });
          await exchange.done();
          const seen = app.seen.at(-1);
          t.equal(outcome(exchange), "200 complete", name);
          t.strictSame([seen?.bytes, seen?.sha256], [size, sha256(body)], `${name}: up`);
          t.strictSame([exchange.body.length, sha256(exchange.body)], [size, sha256(body)], `${name}: down`);
          if (isDeclared) {
            t.equal(seen?.headers["content-length"], String(size), `${name}: told the application`);
            t.equal(exchange.headers["content-length"], String(size), `${name}: told the client`);
          }
        }
      }
      await pair.idle();
      t.equal(pair.errors.length, 0);
      t.equal(pair.pools.at(-1)?.opened, 1, "one connection between the sidecars");
    });

    t.test(`${label}: heads, interim heads, trailers`, async (t) => {
      const { app, pair, client } = await open(t, from, to);
      const headers = { "X-Custom-NAME": "a b", cookie: "a=1; b=2", "x-empty": "", "x-high": "é" };
      const head = await client.send({ path: "/status?code=299", headers }).done();
      const seen = app.seen.at(-1);
      t.equal(outcome(head), "299 complete");
      t.equal(seen?.authority, "app.test");
      t.match(seen?.headers, {
        "x-custom-name": "a b",
        cookie: "a=1; b=2",
        "x-empty": "",
      });
      if (from === "http1" && to === "http1") {
        t.ok(seen?.rawHeaders.includes("X-Custom-NAME"), "the client's own spelling");
        t.ok(head.rawHeaders.includes("X-Case"), "the application's own spelling");
      }
      t.equal(head.headers["x-case"], "Kept");
      // What the hop between adds to a head within the limits must not push it over them.
      if (to === "http1") {
        const full = Object.fromEntries(
          Array.from({ length: from === "http1" ? 197 : 195 }, (_, i) => [`X-${i}`, "1"]),
        );
        t.equal(
          outcome(await client.send({ path: "/status?code=200", headers: full }).done()),
          "200 complete",
        );
      }
      const names = [...(seen?.rawHeaders ?? []), ...head.rawHeaders].join();
      t.notMatch(names, /x-remora-case/i, "nothing of the hop between");

      for (const code of [204, 304]) {
        const exchange = await client.send({ path: `/status?code=${code}` }).done();
        t.equal(outcome(exchange), `${code} complete`);
        t.equal(exchange.body.length, 0);
      }
      const headOnly = await client.send({ method: "HEAD", path: "/large" }).done();
      t.equal(outcome(headOnly), "200 complete");
      t.equal(headOnly.headers["content-length"], "1000", "HEAD: the length of what GET would bring");
      t.equal(headOnly.body.length, 0);

      const hints = await client.send({ path: "/hints" }).done();
      t.strictSame(hints.interim, [103]);
      t.equal(hints.body.toString(), "after the hints");
      const expecting = client.send({
        method: "POST",
        path: "/echo",
        headers: { expect: "100-continue", "content-length": "5" },
        body: null,
      });
      await expecting.wait("100", () => expecting.interim.includes(100));
      expecting.write(Buffer.from("hello"));
      expecting.end();
      await expecting.done();
      t.equal(expecting.body.toString(), "hello");
      t.strictSame(expecting.interim, [100]);

      const trailed = await client
        .send({
          method: "POST",
          path: "/echo?trailers",
          body: Buffer.from("with trailers"),
          headers: { te: "trailers" },
          trailers: { "x-up": "1" },
        })
        .done();
      t.equal(outcome(trailed), "200 complete");
      t.match(app.seen.at(-1)?.trailers, { "x-up": "1" });
      t.match(trailed.trailers, { "x-sum": sha256(Buffer.from("with trailers")).slice(0, 8) });
      await pair.idle();
      t.equal(pair.errors.length, 0);
    });

    t.test(`${label}: the client goes away`, async (t) => {
      const { app, pair, client } = await open(t, from, to);
      const stages: [name: string, start: () => Exchange, isThere: (exchange: Exchange) => boolean][] = [
        ["before the response", () => client.send({ path: "/hang" }), () => true],
        [
          "inside the upload",
          () => {
            const exchange = client.send({ method: "POST", path: "/hang", body: null });
            exchange.write(Buffer.alloc(5000));
            return exchange;
          },
          () => app.seen.at(-1)?.bytes === 5000,
        ],
        [
          "inside the response",
          () => client.send({ path: "/half?declared" }),
          (exchange) => exchange.body.length === 4,
        ],
        [
          "inside a response of no told length",
          () => client.send({ path: "/half" }),
          (exchange) => exchange.body.length === 4,
        ],
      ];
      for (const [name, start, isThere] of stages) {
        const count = app.seen.length;
        const exchange = start();
        await app.wait("the request", () => app.seen.length > count);
        const seen = app.seen.at(-1);
        if (name === "inside the upload") await app.wait(name, () => isThere(exchange));
        else await exchange.wait(name, () => isThere(exchange));
        const startMs = performance.now();
        exchange.cancel();
        await app.wait("the application is told", () => seen?.isClosed === true);
        const tookMs = performance.now() - startMs;
        t.ok(tookMs < 100, `${name}: told in ${tookMs.toFixed(1)} ms`);
      }
      await pair.idle();
      t.ok(
        pair.errors.every(({ code }) => code === "client_gone"),
        pair.errors.join("; "),
      );
      const next = await client.send({ path: "/large" }).done();
      t.equal(outcome(next), "200 complete", "what remains is in order");
    });

    t.test(`${label}: the application breaks off`, async (t) => {
      const { client } = await open(t, from, to);
      const reset = await client.send({ path: "/reset" }).done();
      t.equal(outcome(reset), "502 complete", "before the response");
      t.match(reset.headers["x-remora-error"], /^upstream_/);
      for (const path of ["/broken?declared", "/broken"]) {
        const startMs = performance.now();
        const exchange = client.send({ path });
        await exchange.wait("the first half", () => exchange.body.length === 4);
        await exchange.done();
        const tookMs = performance.now() - startMs;
        t.equal(exchange.status, 200);
        t.not(exchange.outcome, "complete", `${path}: an error (${exchange.outcome}), no clean end`);
        t.ok(tookMs < 120, `${path}: told in ${(tookMs - 20).toFixed(1)} ms`);
      }
      const next = await client.send({ path: "/large" }).done();
      t.equal(outcome(next), "200 complete", "what remains is in order");
    });

    t.test(`${label}: an early response to an upload`, async (t) => {
      const { pair, client } = await open(t, from, to);
      for (let i = 0; i < 5; i++) {
        const exchange = client.send({ method: "POST", path: "/early", body: null });
        const piece = Buffer.alloc(64 * kibibyte);
        for (let sent = 0; sent < 8; sent++) exchange.write(piece);
        await exchange.wait("the whole reply", () => exchange.body.length === 8);
        t.equal(exchange.status, 413);
        t.equal(exchange.body.toString(), "too much");
        exchange.cancel();
        await exchange.done();
      }
      await pair.idle();
      const next = await client.send({ path: "/large" }).done();
      t.equal(outcome(next), "200 complete");
    });

    t.test(`${label}: WebSocket`, async (t) => {
      const { pair, client } = await open(t, from, to);
      const sockets = await Promise.all(Array.from({ length: 10 }, (_, i) => client.webSocket(`/chat/${i}`)));
      await Promise.all(sockets.map((socket, i) => talk(t, socket, i)));
      await pair.idle();
      t.equal(pair.errors.length, 0, pair.errors.join("; "));
      if (to === "http2")
        await t.rejects(client.webSocket("/refused"), { message: /Unexpected server response: 403/ });
    });
  }
}

/** Messages of any size come back as they were sent, then the close. */
async function talk(t: Test, socket: WebSocket, seed: number): Promise<void> {
  let wrong = 0;
  for (const size of [0, 1, 125, 126, 65_536, 200_000 + seed]) {
    const sent = Buffer.alloc(size, seed + 65);
    socket.send(sent);
    const got = await new Promise<Buffer>((resolve, reject) => {
      socket.once("message", (data) => resolve(data as Buffer));
      socket.once("close", () => reject(new Error(`closed at ${size}`)));
    });
    if (!got.equals(sent)) wrong++;
  }
  const closed = new Promise<number>((resolve) => socket.once("close", resolve));
  socket.close(1000);
  t.equal(await closed, 1000, `socket ${seed}`);
  t.equal(wrong, 0);
}
