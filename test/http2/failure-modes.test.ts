/** Hostile clients of HTTP/2, provoked frame by frame through two hops: what is refused, what it costs, who suffers. */
import t, { type Test } from "tap";
import type { Http2Limit } from "../../src/http2/limits.js";
import { answer, ByteUpstream, okText, type Script } from "../support/byte-upstream.js";
import { eventually } from "../support/eventually.js";
import {
  block,
  data,
  endStream,
  frame,
  frameFlag,
  FramePeer,
  frameType,
  get,
  headers,
  ping,
  post,
  priority,
  rst,
  settings,
  windowUpdate,
} from "../support/http2-frames.js";
import { ProxyPair, type PairOptions } from "../support/proxy-pair.js";

async function open(t: Test, script: Script = answer(), options: Partial<PairOptions> = {}) {
  const upstream = await ByteUpstream.open(t, script);
  const pair = await ProxyPair.open(t, { upstreamPort: upstream.port, ...options });
  return { upstream, pair, connect: () => FramePeer.connect(t, pair.port) };
}

/** Never answers. */
const silent: Script = () => {};
const megabyte = 2 ** 20;
const requestsOf = (upstream: ByteUpstream): number => upstream.text.split(" HTTP/1.1\r\n").length - 1;

/** A client beside the hostile one, with a connection of its own: answered as if nobody else were there. */
async function isServed(t: Test, pair: ProxyPair): Promise<void> {
  const peer = FramePeer.connect(t, pair.port).send(headers(1, get, endStream));
  await peer.gets("DATA 1 2 END");
  peer.socket.destroy();
}

/** Sends what `make` gives for one stream after the other, until the connection is over or all is sent; gives the end. */
async function flood(peer: FramePeer, count: number, make: (streamId: number) => Buffer): Promise<string> {
  const batch = 500;
  for (let sent = 0; sent < count && !peer.isClosed && !peer.socket.destroyed; sent += batch) {
    const frames = Buffer.concat(Array.from({ length: batch }, (_, i) => make(2 * (sent + i) + 1)));
    await new Promise((resolve) => void peer.socket.write(frames, () => setImmediate(resolve)));
  }
  await eventually("the end of the connection", () => peer.isClosed || peer.socket.destroyed);
  return peer.words.findLast((word) => word.startsWith("GOAWAY")) ?? "no GOAWAY";
}

t.test("row 43: rapid reset", async (t) => {
  const { upstream, pair, connect } = await open(t, silent);
  const goodbye = await flood(connect(), 50_000, (id) =>
    Buffer.concat([headers(id, get, endStream), rst(id, 8)]),
  );
  t.match(goodbye, /GOAWAY \d+ ENHANCE_YOUR_CALM/);
  t.ok(pair.limits.includes("resets"));
  t.ok(requestsOf(upstream) < 10, `${requestsOf(upstream)} requests reached the application`);
  upstream.script = answer();
  await isServed(t, pair);
  await pair.idle();
});

t.test("row 43: resets that come when the request is on its way", async (t) => {
  const { upstream, pair, connect } = await open(t, silent);
  const innocent = connect().send(headers(1, get, endStream));
  await upstream.wait("the innocent request", () => requestsOf(upstream) === 1);
  const served = await upstream.connection(0);
  // Each connection as far as it may go; together more than the hop between sidecars would be forgiven as a client.
  for (let n = 0; n < 5; n++) {
    const peer = connect();
    for (let from = 1; from < 1000 && !peer.isClosed; from += 100) {
      const before = pair.calls.total;
      const ids = Array.from({ length: 50 }, (_, i) => from + 2 * i);
      peer.send(...ids.map((id) => headers(id, get, endStream)));
      await eventually("they went on", () => pair.calls.total >= before + 100 || peer.isClosed);
      peer.send(...ids.map((id) => rst(id, 8)));
      await peer.settled();
    }
    t.match(peer.words.at(-1), /GOAWAY \d+ ENHANCE_YOUR_CALM/);
  }
  t.ok(pair.limits.every((limit) => limit === "resets"));
  t.equal(pair.limits.length, 5, "each at its own connection, none at the hop that all share");
  await eventually("only the innocent call is left", () => pair.calls.active === 2);
  t.ok(requestsOf(upstream) <= 1 + 5 * 250, `${requestsOf(upstream)} requests reached the application`);
  answer()(served, 0);
  served.write(okText);
  await innocent.gets("DATA 1 2 END");
  upstream.script = answer();
  await isServed(t, pair);
});

t.test("row 44: a client that makes us reset its streams", async (t) => {
  const ways: readonly (readonly [string, (id: number) => Buffer])[] = [
    ["WINDOW_UPDATE of 0", (id) => windowUpdate(id, 0)],
    ["WINDOW_UPDATE over 2^31-1", (id) => windowUpdate(id, 2 ** 31 - 1)],
    ["DATA after END_STREAM", (id) => data(id, "x")],
    ["HEADERS after END_STREAM", (id) => headers(id, { a: "b" }, endStream)],
    ["PRIORITY on itself", (id) => priority(id, id)],
    ["PRIORITY of a wrong size", (id) => frame(frameType.priority, 0, id, Buffer.alloc(4))],
  ];
  const { upstream, pair, connect } = await open(t, silent);
  for (const [name, provoke] of ways) {
    const before = requestsOf(upstream);
    pair.limits.length = 0;
    const goodbye = await flood(connect(), 50_000, (id) =>
      Buffer.concat([headers(id, get, endStream), provoke(id)]),
    );
    t.match(goodbye, /GOAWAY \d+ ENHANCE_YOUR_CALM/, name);
    t.ok(pair.limits.includes("resets"), `${name}: counted`);
    const reached = requestsOf(upstream) - before;
    t.ok(reached <= 200, `${name}: ${reached} requests reached the application`);
  }
  upstream.script = answer();
  await isServed(t, pair);
  await pair.idle();
});

t.test("row 45: CONTINUATION without end", async (t) => {
  const { upstream, pair, connect } = await open(t);
  const noEnd = frame(frameType.headers, endStream, 1, block(get));
  for (const size of [0, 1, 16_000]) {
    pair.limits.length = 0;
    const peer = connect().send(noEnd);
    const piece = frame(frameType.continuation, 0, 1, Buffer.alloc(size, 0x40));
    t.equal(await flood(peer, 50_000, () => piece), "GOAWAY 0 ENHANCE_YOUR_CALM", `${size} bytes each`);
    t.strictSame(pair.limits, [size === 0 ? "empty_frames" : "continuations"]);
  }
  t.equal(upstream.size, 0, "no byte went upstream");
  await isServed(t, pair);
});

t.test("row 46: frames that cost a client little", async (t) => {
  const upload = headers(1, post);
  const hold = headers(1, { ...get, ":path": "/hold" }, endStream);
  const floods: readonly (readonly [string, Buffer, Buffer, Http2Limit])[] = [
    ["PING", hold, ping(), "control_frames"],
    ["PING ACK that nobody asked for", hold, ping(frameFlag.ack), "control_frames"],
    ["SETTINGS", hold, settings(), "control_frames"],
    ["SETTINGS that move all windows", hold, settings([4, 1], [4, 100_000]), "control_frames"],
    ["SETTINGS ACK", hold, frame(frameType.settings, frameFlag.ack, 0), "control_frames"],
    ["unknown frames", hold, frame(0xbe, 0, 0, Buffer.alloc(100)), "control_frames"],
    ["GOAWAY", hold, frame(frameType.goaway, 0, 0, Buffer.alloc(8)), "control_frames"],
    ["RST_STREAM on a stream that is over", Buffer.concat([hold, rst(1, 8)]), rst(1, 8), "control_frames"],
    ["empty DATA", upload, data(1, ""), "empty_frames"],
    ["DATA of padding only", upload, frame(0, frameFlag.padded, 1, Buffer.alloc(256, 255)), "empty_frames"],
    ["PRIORITY", hold, priority(3, 1), "priority_frames"],
    ["WINDOW_UPDATE on the connection", hold, windowUpdate(0, 1), "window_updates"],
    ["WINDOW_UPDATE on a stream", hold, windowUpdate(1, 1), "window_updates"],
  ];
  const { upstream, pair, connect } = await open(t, silent);
  for (const [name, first, piece, limit] of floods) {
    pair.limits.length = 0;
    t.match(await flood(connect().send(first), 50_000, () => piece), /GOAWAY \d ENHANCE_YOUR_CALM/, name);
    t.strictSame(pair.limits, [limit], name);
    await pair.idle();
  }
  upstream.script = answer();
  await isServed(t, pair);
});

t.test("row 46: answers that are never read", async (t) => {
  const large = `HTTP/1.1 200 OK\r\nX: ${"x".repeat(10_000)}\r\nContent-Length: 0\r\n\r\n`;
  const script: Script = answer((head) => (head.includes("/large") ? large : okText));
  const { pair, connect } = await open(t, script);
  await isServed(t, pair);
  const deaf = connect();
  await deaf.settled();
  deaf.socket.pause();
  const before = process.memoryUsage.rss();
  // At the pace of the answers, so that no other bound is met.
  for (let id = 1; pair.limits.length === 0 && id < 10_000;) {
    for (let i = 0; i < 50; i++, id += 2) deaf.send(headers(id, { ...get, ":path": "/large" }, endStream));
    await eventually("they were taken", () => pair.calls.total >= id || pair.limits.length > 0);
    await pair.idle();
  }
  t.strictSame(pair.limits, ["owed_frames"]);
  const grown = process.memoryUsage.rss() - before;
  t.ok(grown < 80 * megabyte, `memory grew by ${(grown / megabyte).toFixed()} MiB`);
  await isServed(t, pair);
});

t.test("row 47: heads that are larger than they look", async (t) => {
  const { upstream, pair, connect } = await open(t);
  await isServed(t, pair);
  const before = process.memoryUsage.rss();
  const size = upstream.size;

  // An entry of 4000 bytes for the dynamic table, then 15,000 one-byte references to it: 60 MB.
  const entry = Buffer.concat([Buffer.from([0x40]), block({ bomb: "x".repeat(4000) }).subarray(1)]);
  const bomb = Buffer.concat([block(get), entry, Buffer.alloc(12_000, 0xbe)]);
  const peer = connect();
  for (let id = 1; id < 200; id += 2) {
    peer.send(frame(frameType.headers, endStream | frameFlag.endHeaders, id, bomb));
  }
  await peer.gets("HEADERS 199 431");
  t.strictSame([...new Set(pair.limits)], ["head_bytes"]);
  const grown = process.memoryUsage.rss() - before;
  t.ok(grown < 100 * megabyte, `100 bombs of 48 MB each: memory grew by ${(grown / megabyte).toFixed()} MiB`);

  const crumbs = [...Object.entries(get).flat(), ...Array<string[]>(10_000).fill(["cookie", "a=b"]).flat()];
  const manyCrumbs = block(crumbs);
  const crumbPeer = connect();
  for (let at = 0; at < manyCrumbs.length; at += 16_384) {
    const last = at + 16_384 >= manyCrumbs.length ? frameFlag.endHeaders : 0;
    const type = at === 0 ? frameType.headers : frameType.continuation;
    const flags = (at === 0 ? endStream : 0) | last;
    crumbPeer.send(frame(type, flags, 1, manyCrumbs.subarray(at, at + 16_384)));
  }
  await crumbPeer.gets("HEADERS 1 431");
  crumbPeer.send(
    headers(3, [...Object.entries(get).flat(), "host", "api.mesh", "host", "api.mesh"], endStream),
  );
  await crumbPeer.gets("HEADERS 3 400");
  t.equal(upstream.size, size, "none of them went upstream");
  // The table of the decoder has followed all of it.
  const reference = Buffer.concat([block(get), Buffer.from([0xbe])]);
  peer.send(frame(frameType.headers, endStream | frameFlag.endHeaders, 401, reference));
  await peer.gets("DATA 401 2 END");
  t.match(upstream.text, `\r\nbomb: ${"x".repeat(4000)}\r\n`);

  // As many crumbs as a head may have are one field upstream.
  crumbPeer.send(
    headers(
      5,
      [...Object.entries(get).flat(), ..."abcdef".split("").flatMap((c) => ["cookie", c])],
      endStream,
    ),
  );
  await crumbPeer.gets("DATA 5 2 END");
  t.match(upstream.text, /\r\ncookie: a; b; c; d; e; f\r\n/);
});

t.test("row 47: a client of whose heads most are refused", async (t) => {
  const { upstream, pair, connect } = await open(t);
  const malformed = { ...get, "X-Upper": "1" };
  const goodbye = await flood(connect(), 5000, (id) => headers(id, malformed, endStream));
  t.match(goodbye, /GOAWAY \d+ ENHANCE_YOUR_CALM/);
  t.ok(pair.limits.includes("resets"));
  t.ok(pair.limits.length < 450, `${pair.limits.length} were looked at`);
  t.equal(upstream.size, 0);
  await isServed(t, pair);
});

t.test("row 47: header blocks that are held back", async (t) => {
  const { pair, connect } = await open(t, answer(), { hops: 1, timeouts: { headMs: 1000 } });
  const before = process.memoryUsage.rss();
  const peers = Array.from({ length: 100 }, () => {
    const peer = connect().send(frame(frameType.headers, 0, 1, Buffer.alloc(16_384, 0x40)));
    for (let i = 0; i < 7; i++) peer.send(frame(frameType.continuation, 0, 1, Buffer.alloc(16_384, 0x40)));
    return peer;
  });
  await isServed(t, pair);
  await Promise.all(peers.map((peer) => peer.closed()));
  const grown = process.memoryUsage.rss() - before;
  t.ok(grown < 120 * megabyte, `100 blocks of 128 KiB: memory grew by ${(grown / megabyte).toFixed()} MiB`);
  t.strictSame([...new Set(pair.limits)], ["continuations"]);
});
