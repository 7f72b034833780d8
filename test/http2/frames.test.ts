/** The state machine of a connection, frame by frame (RFC 9113), on hand-made frames. */
import fc from "fast-check";
import t, { type Test } from "tap";
import { ProxyError } from "../../src/errors/proxy-error.js";
import { FloodGuard } from "../../src/http2/flood-guard.js";
import { HpackDecoder } from "../../src/http2/hpack-decoder.js";
import { http2Limits, type Http2Limit } from "../../src/http2/limits.js";
import type { RequestContext } from "../../src/stack/request-context.js";
import type { Call, Reply, Service } from "../../src/stack/service.js";
import type { BodySink } from "../../src/traffic/body.js";
import { BufferedBody } from "../../src/traffic/body.js";
import { eventually } from "../support/eventually.js";
import {
  block,
  clientPreface,
  data,
  describe,
  endStream,
  frame,
  frameFlag,
  frameType,
  FramePeer,
  get,
  goaway,
  headers,
  hello,
  listenFrames,
  MemorySocket,
  ping,
  post,
  priority,
  rst,
  settings,
  settingsAck,
  windowUpdate,
} from "../support/http2-frames.js";
import { Http2Relay, type RelayOptions } from "../support/http2-relay.js";
import { RecordedReply, scriptedRequest } from "../support/scripted-service.js";
import { ScriptedSink, ScriptedSource } from "../support/scripted-body.js";

/** Answers when the request is complete with its length; /hold never, /early at once, /big with 100 000 bytes. */
class Answering implements Service {
  readonly sinks: ScriptedSink[] = [];

  call(request: RequestContext, reply: Reply): Call {
    let isOver = false;
    const end = (error: ProxyError | null): void => {
      if (isOver) return;
      isOver = true;
      reply.end(error);
    };
    const answer = (bytes: number): void => {
      if (isOver) return;
      reply.head(
        { status: 200, reason: "", version: "1.1", headers: [] },
        new BufferedBody(Buffer.alloc(bytes)),
      );
      end(null);
    };
    const target = request.head.target;
    const call: Call = {
      cancel: end,
    };
    if (target === "/early" || request.body === null) {
      if (target !== "/hold") answer(target === "/big" ? 100_000 : 2);
    } else if (target !== "/unread") {
      const sink = new ScriptedSink();
      this.sinks.push(sink);
      let bytes = 0;
      const counting: BodySink = {
        write: (chunk) => {
          bytes += chunk.length;
          return sink.write(chunk);
        },
        end: (trailers) => {
          sink.end(trailers);
          if (target !== "/hold") answer(bytes);
        },
        fail: (error) => {
          sink.fail(error);
          end(error);
        },
      };
      request.body.attach(counting);
    }
    return call;
  }
}

async function server(
  t: Test,
  options: Partial<RelayOptions> = {},
): Promise<{ relay: Http2Relay; service: Answering; connect: (first?: Buffer) => FramePeer }> {
  const service = new Answering();
  const relay = await Http2Relay.open(t, { upstreamPort: 0, service, ...options });
  return { relay, service, connect: (first) => FramePeer.connect(t, relay.port, first) };
}

const at = (path: string, method = "GET"): Record<string, string> => ({
  ...get,
  ":method": method,
  ":path": path,
});
const open = headers(1, at("/hold"), endStream);
const upload = headers(1, at("/hold", "POST"));
const noEnd = frame(frameType.headers, 0, 1, block(get));
const e = frameFlag.endHeaders;

/** Name, frames after the settings, what must come back. */
const rows: readonly (readonly [string, readonly Buffer[], string])[] = [
  ["a request", [headers(1, get, endStream)], "HEADERS 1 200; DATA 1 2 END"],
  ["a body", [headers(1, post), data(1, "abc"), data(1, "de", endStream)], "HEADERS 1 200; DATA 1 5 END"],
  [
    "padding",
    [headers(1, post), frame(0, 9, 1, Buffer.from([3, 65, 0, 0, 0]))],
    "HEADERS 1 200; DATA 1 1 END",
  ],
  ["only padding", [headers(1, post), frame(0, 9, 1, Buffer.from([3, 0, 0, 0]))], "HEADERS 1 200 END"],
  [
    "trailers",
    [headers(1, post), data(1, "abc"), headers(1, { "x-sum": "1" }, endStream)],
    "HEADERS 1 200; DATA 1 3 END",
  ],
  [
    "CONTINUATION",
    [
      frame(frameType.headers, endStream, 1, block(get).subarray(0, 9)),
      frame(frameType.continuation, 0, 1, block(get).subarray(9, 20)),
      frame(frameType.continuation, e, 1, block(get).subarray(20)),
    ],
    "HEADERS 1 200; DATA 1 2 END",
  ],
  [
    "HEADERS with padding and priority",
    [
      frame(
        frameType.headers,
        endStream | e | frameFlag.padded | frameFlag.priority,
        1,
        Buffer.concat([Buffer.from([2, 0, 0, 0, 3, 9]), block(get), Buffer.alloc(2)]),
      ),
    ],
    "HEADERS 1 200; DATA 1 2 END",
  ],
  [
    "unknown frame types",
    [frame(0x77, 255, 9, Buffer.alloc(5)), headers(1, get, endStream)],
    "HEADERS 1 200; DATA 1 2 END",
  ],
  ["PRIORITY on an idle stream", [priority(9, 3), headers(1, get, endStream)], "HEADERS 1 200; DATA 1 2 END"],
  ["an early answer", [headers(1, at("/early", "POST"))], "HEADERS 1 200; DATA 1 2 END; RST 1 NO_ERROR"],
  [
    "the rest of an upload that was answered early",
    [headers(1, at("/early", "POST")), data(1, "rest"), data(1, "rest", endStream), windowUpdate(1, 1)],
    "HEADERS 1 200; DATA 1 2 END; RST 1 NO_ERROR",
  ],
  ["a malformed head", [headers(1, { ":scheme": "http", ":path": "/" }, endStream)], "HEADERS 1 400"],
  ["an upper-case name", [headers(1, { ...get, "X-Upper": "1" }, endStream)], "HEADERS 1 400"],
  [
    "content-length without content",
    [headers(1, { ...get, "content-length": "3" }, endStream)],
    "HEADERS 1 400",
  ],
  [
    "less than content-length",
    [headers(1, { ...post, "content-length": "3" }), data(1, "ab", endStream)],
    "RST 1 PROTOCOL_ERROR",
  ],
  [
    "more than content-length",
    [headers(1, { ...post, "content-length": "3" }), data(1, "abcd")],
    "RST 1 PROTOCOL_ERROR",
  ],
  ["trailers without END_STREAM", [upload, headers(1, { a: "b" })], "RST 1 PROTOCOL_ERROR"],
  ["DATA after END_STREAM", [open, data(1, "x")], "RST 1 STREAM_CLOSED"],
  ["HEADERS after END_STREAM", [open, headers(1, { a: "b" }, endStream)], "RST 1 STREAM_CLOSED"],
  [
    "DATA on a stream that is over",
    [headers(1, get, endStream), data(1, "x")],
    "HEADERS 1 200; DATA 1 2 END; RST 1 STREAM_CLOSED",
  ],
  [
    "HEADERS on a stream that is over",
    [headers(3, get, endStream), headers(3, get, endStream)],
    "GOAWAY 3 STREAM_CLOSED",
  ],
  [
    "HEADERS on a lower stream",
    [headers(3, get, endStream), headers(1, get, endStream)],
    "GOAWAY 3 STREAM_CLOSED",
  ],
  [
    "RST_STREAM and WINDOW_UPDATE on a stream that is over",
    [headers(1, post), data(1, "x", endStream), rst(1, 8), windowUpdate(1, 1)],
    "HEADERS 1 200; DATA 1 1 END",
  ],
  ["a request that is reset in the same breath", [headers(1, get, endStream), rst(1, 8)], ""],
  ["a stream of the server", [headers(2, get, endStream)], "GOAWAY 0 PROTOCOL_ERROR"],
  ["stream 0", [headers(0, get, endStream)], "GOAWAY 0 PROTOCOL_ERROR"],
  ["DATA on stream 0", [data(0, "x")], "GOAWAY 0 PROTOCOL_ERROR"],
  ["DATA on an idle stream", [data(1, "x")], "GOAWAY 0 PROTOCOL_ERROR"],
  ["RST_STREAM on an idle stream", [rst(1, 8)], "GOAWAY 0 PROTOCOL_ERROR"],
  ["WINDOW_UPDATE on an idle stream", [windowUpdate(1, 8)], "GOAWAY 0 PROTOCOL_ERROR"],
  ["CONTINUATION alone", [frame(frameType.continuation, e, 1)], "GOAWAY 0 PROTOCOL_ERROR"],
  ["CONTINUATION of another stream", [noEnd, frame(frameType.continuation, e, 3)], "GOAWAY 0 PROTOCOL_ERROR"],
  ["a frame inside of a header block", [noEnd, ping()], "GOAWAY 0 PROTOCOL_ERROR"],
  ["DATA inside of a header block", [noEnd, data(1, "x")], "GOAWAY 0 PROTOCOL_ERROR"],
  ["PUSH_PROMISE", [frame(frameType.pushPromise, e, 1, Buffer.alloc(4))], "GOAWAY 0 PROTOCOL_ERROR"],
  [
    "a frame over the limit",
    [frame(frameType.data, 0, 1, Buffer.alloc(0), 16_385)],
    "GOAWAY 0 FRAME_SIZE_ERROR",
  ],
  ["padding too long", [upload, frame(0, 8, 1, Buffer.from([5, 1, 2]))], "GOAWAY 1 PROTOCOL_ERROR"],
  ["padding without its length", [upload, frame(0, 8, 1)], "GOAWAY 1 PROTOCOL_ERROR"],
  ["padding of HEADERS too long", [frame(1, e | 8, 1, Buffer.from([9, 1, 2]))], "GOAWAY 0 PROTOCOL_ERROR"],
  [
    "bad HPACK",
    [frame(frameType.headers, e, 1, Buffer.from([0xff, 0xff, 0xff, 0xff, 0xff, 0xff]))],
    "GOAWAY 1 COMPRESSION_ERROR",
  ],
  ["PING of a wrong size", [frame(frameType.ping, 0, 0, Buffer.alloc(7))], "GOAWAY 0 FRAME_SIZE_ERROR"],
  ["PING on a stream", [frame(frameType.ping, 0, 1, Buffer.alloc(8))], "GOAWAY 0 PROTOCOL_ERROR"],
  [
    "SETTINGS of a wrong size",
    [frame(frameType.settings, 0, 0, Buffer.alloc(5))],
    "GOAWAY 0 FRAME_SIZE_ERROR",
  ],
  ["SETTINGS on a stream", [frame(frameType.settings, 0, 1)], "GOAWAY 0 PROTOCOL_ERROR"],
  ["an ack with content", [frame(frameType.settings, 1, 0, Buffer.alloc(6))], "GOAWAY 0 FRAME_SIZE_ERROR"],
  ["ENABLE_PUSH 2", [settings([2, 2])], "GOAWAY 0 PROTOCOL_ERROR"],
  ["INITIAL_WINDOW_SIZE 2^31", [settings([4, 2 ** 31])], "GOAWAY 0 FLOW_CONTROL_ERROR"],
  ["MAX_FRAME_SIZE 16383", [settings([5, 16_383])], "GOAWAY 0 PROTOCOL_ERROR"],
  ["MAX_FRAME_SIZE 2^24", [settings([5, 2 ** 24])], "GOAWAY 0 PROTOCOL_ERROR"],
  ["unknown settings", [settings([0x99, 5]), headers(1, get, endStream)], "HEADERS 1 200; DATA 1 2 END"],
  ["WINDOW_UPDATE of 0 on the connection", [windowUpdate(0, 0)], "GOAWAY 0 PROTOCOL_ERROR"],
  ["WINDOW_UPDATE of 0 on a stream", [open, windowUpdate(1, 0)], "RST 1 PROTOCOL_ERROR"],
  ["WINDOW_UPDATE over 2^31-1", [windowUpdate(0, 2 ** 31 - 1)], "GOAWAY 0 FLOW_CONTROL_ERROR"],
  ["WINDOW_UPDATE over 2^31-1 on a stream", [open, windowUpdate(1, 2 ** 31 - 1)], "RST 1 FLOW_CONTROL_ERROR"],
  [
    "WINDOW_UPDATE of a wrong size",
    [frame(frameType.windowUpdate, 0, 0, Buffer.alloc(3))],
    "GOAWAY 0 FRAME_SIZE_ERROR",
  ],
  [
    "SETTINGS that make a window too large",
    [open, windowUpdate(1, 2 ** 31 - 1 - 65_535), settings([4, 65_536])],
    "GOAWAY 1 FLOW_CONTROL_ERROR",
  ],
  [
    "RST_STREAM of a wrong size",
    [open, frame(frameType.rstStream, 0, 1, Buffer.alloc(3))],
    "GOAWAY 1 FRAME_SIZE_ERROR",
  ],
  [
    "PRIORITY of a wrong size",
    [open, frame(frameType.priority, 0, 1, Buffer.alloc(4))],
    "RST 1 FRAME_SIZE_ERROR",
  ],
  ["PRIORITY on stream 0", [priority(0, 1)], "GOAWAY 0 PROTOCOL_ERROR"],
  ["a stream that depends on itself", [open, priority(1, 1)], "RST 1 PROTOCOL_ERROR"],
  ["GOAWAY of a wrong size", [frame(frameType.goaway, 0, 0, Buffer.alloc(7))], "GOAWAY 0 FRAME_SIZE_ERROR"],
  [
    "nine CONTINUATIONs",
    [noEnd, ...Array<Buffer>(9).fill(frame(frameType.continuation, 0, 1, Buffer.from([0])))],
    "GOAWAY 0 ENHANCE_YOUR_CALM",
  ],
  ["two empty DATA frames", [upload, data(1, ""), data(1, "")], "GOAWAY 1 ENHANCE_YOUR_CALM"],
  [
    "a head over the limit",
    [headers(1, { ...get, a: "x".repeat(8000), b: "x".repeat(8000), c: "y" }, endStream)],
    "HEADERS 1 431",
  ],
  [
    "too many fields",
    [headers(1, [...Object.entries(get).flat(), ...Array<string>(60).fill("a")], endStream)],
    "HEADERS 1 431",
  ],
  [
    "a request after one that was refused",
    [headers(1, { ...get, "X-A": "1" }, endStream), headers(3, get, endStream)],
    "HEADERS 3 200; DATA 3 2 END",
  ],
];

t.test("what a server makes of frames", async (t) => {
  const { relay, connect } = await server(t, { limits: { maxHeadBytes: 16_000, maxHeaders: 20 } });
  for (const [name, frames, expected] of rows) {
    const peer = connect();
    await peer.settled();
    peer.send(...frames);
    const words = expected.startsWith("GOAWAY") ? await peer.closed() : await peer.settled();
    const got = words.filter((word) => word !== "PING ACK").join("; ");
    t.ok(expected === "" ? got === "" : got.includes(expected), `${name}: ${got}`);
    peer.socket.destroy();
  }
  await eventually("every call has ended", () => relay.calls.active === 0);
  await eventually("every connection is closed", () => relay.closed === relay.servers.length);
});

t.test("the beginning of a connection", async (t) => {
  const { connect } = await server(t);
  t.same(await connect(Buffer.from("GET / HTTP/1.1\r\n\r\n")).closed(), ["GOAWAY 0 PROTOCOL_ERROR"]);
  t.same(await connect(Buffer.concat([clientPreface, ping()])).closed(), ["GOAWAY 0 PROTOCOL_ERROR"]);
  t.same(await connect(Buffer.concat([clientPreface, settingsAck])).closed(), ["GOAWAY 0 PROTOCOL_ERROR"]);
});

t.test("each size of the HPACK table that a peer names is confirmed (RFC 7541 §4.2)", async (t) => {
  const { connect } = await server(t);
  const peer = connect(Buffer.concat([clientPreface, settings([1, 0], [1, 4096])]));
  peer.send(headers(1, get, endStream));
  await peer.gets("DATA 1 2 END");
  const head = peer.frames.find(({ type }) => type === frameType.headers);
  t.same(head?.payload.subarray(0, 4), Buffer.from([0x20, 0x3f, 0xe1, 0x1f]));
});

t.test("more streams than allowed are refused, also when the first ones are reset", async (t) => {
  const { relay, connect } = await server(t, { limits: { maxConcurrentStreams: 2 } });
  const peer = connect();
  peer.send(open, headers(3, at("/hold"), endStream), headers(5, get, endStream));
  t.same(await peer.settled(), ["RST 5 REFUSED_STREAM"]);
  peer.send(rst(1, 8), headers(7, get, endStream));
  await peer.gets("DATA 7 2 END");
  t.same(relay.limits, ["streams"]);
  t.equal(relay.errors[0]?.code, "client_gone");
});

t.test("drain: two GOAWAYs; what begins between them is taken, what begins later is not", async (t) => {
  const { relay, service, connect } = await server(t, { limits: { goawayGraceMs: 100 } });
  const peer = connect().send(upload);
  await peer.settled();
  relay.servers[0]?.drain();
  await peer.gets(`GOAWAY ${2 ** 31 - 1} NO_ERROR`);
  peer.send(headers(3, get, endStream));
  await peer.gets("DATA 3 2 END");
  await peer.gets("GOAWAY 3 NO_ERROR");
  peer.send(headers(5, post), data(5, "x", endStream));
  t.notMatch((await peer.settled()).join(), / 5 /);
  peer.send(data(1, "x", endStream));
  t.notOk(peer.isClosed);
  await eventually("the body arrived", () => service.sinks[0]?.isEnded);
  peer.send(rst(1, 8));
  await peer.closed();
});

t.test("flow control: our windows are kept, and given back in halves", async (t) => {
  const { relay, service, connect } = await server(t, { limits: { streamWindowBytes: 65_536 } });
  const updates = (peer: FramePeer, streamId: number): number =>
    peer.frames
      .filter((frame) => frame.type === frameType.windowUpdate && frame.streamId === streamId)
      .reduce((sum, { payload }) => sum + payload.readUInt32BE(0), 0);
  const chunk = Buffer.alloc(16_384);
  const peer = connect().send(upload, ...Array<Buffer>(4).fill(data(1, chunk)));
  await peer.settled();
  t.equal(updates(peer, 1), 65_536, "the consumer took all of it");
  (service.sinks[0] as ScriptedSink).room = 1;
  peer.send(...Array<Buffer>(4).fill(data(1, chunk)));
  await peer.settled();
  t.equal(updates(peer, 1), 65_536, "it is full: its window stays shut");
  peer.send(data(1, "x"));
  t.same(await peer.settled(), ["RST 1 FLOW_CONTROL_ERROR"]);
  t.equal(relay.errors[0]?.code, "malformed_request");
  const other = connect().send(headers(1, at("/unread", "POST")));
  for (let i = 0; i < 70; i++) other.send(data(1, chunk));
  t.match(await other.settled(), ["RST 1 FLOW_CONTROL_ERROR"], "a stream that nobody reads is bounded, too");
});

t.test("flow control: what all streams hold together is bounded", async (t) => {
  const limits = { maxHeldBytes: 200_000, connectionWindowBytes: 400_000, streamWindowBytes: 100_000 };
  const { relay, connect } = await server(t, { limits });
  const peer = connect();
  for (let id = 1; id <= 9; id += 2) {
    peer.send(headers(id, at("/unread", "POST")));
    for (let i = 0; i < 6; i++) peer.send(data(id, Buffer.alloc(16_384)));
  }
  await peer.settled();
  t.same(relay.limits, ["held_bytes"]);
  const over = headers(11, at("/unread", "POST"));
  peer.send(over, ...Array<Buffer>(8).fill(data(11, Buffer.alloc(16_384))));
  await peer.gets(/^(?:GOAWAY|RST).* FLOW_CONTROL_ERROR/);
});

t.test("flow control: the peer's windows are kept, also when they shrink below zero", async (t) => {
  const { connect } = await server(t);
  const peer = connect(Buffer.concat([clientPreface, settings([4, 1000])]));
  peer.send(headers(1, at("/big"), endStream), headers(3, at("/big"), endStream));
  await peer.settled();
  t.same([peer.bytesOf(1), peer.bytesOf(3)], [1000, 1000]);
  peer.send(settings([4, 500]), windowUpdate(1, 400));
  await peer.settled();
  t.same([peer.bytesOf(1), peer.bytesOf(3)], [1000, 1000], "windows are at -100 and -500");
  peer.send(windowUpdate(1, 101));
  await peer.settled();
  t.same([peer.bytesOf(1), peer.bytesOf(3)], [1001, 1000]);
  peer.send(settings([4, 200_000]));
  await peer.settled();
  t.equal(peer.bytesOf(1) + peer.bytesOf(3), 65_535, "the connection's window");
  t.ok(Math.abs(peer.bytesOf(1) - peer.bytesOf(3)) <= 16_384, "the streams take turns");
  peer.send(windowUpdate(0, 500_000));
  await peer.gets("DATA 3 16384");
  await eventually("all came", () => peer.bytesOf(1) === 100_000 && peer.bytesOf(3) === 100_000);
  t.ok(peer.frames.every(({ payload }) => payload.length <= 16_384));
});

t.test("a peer that reads nothing loses its connection, whatever it makes us answer", async (t) => {
  const { relay, connect } = await server(t, { limits: { maxOwedFrames: 100, maxControlFrames: 1e9 } });
  const peer = connect();
  peer.socket.pause();
  const many = Buffer.concat(Array<Buffer>(5000).fill(ping()));
  const flood = (): void => {
    if (!peer.socket.destroyed && relay.limits.length === 0)
      peer.socket.write(many, () => setImmediate(flood));
  };
  flood();
  await eventually("noticed", () => relay.limits.includes("owed_frames"));
});

t.test("rapid reset, ours or theirs: no new streams, those under way may finish", async (t) => {
  const limits = { minStreamsForResets: 20 };
  for (const provoke of [rst(0, 8), windowUpdate(0, 0)]) {
    const { relay, connect } = await server(t, { limits });
    const peer = connect().send(upload);
    await peer.settled();
    for (let id = 3; id < 103; id += 2) {
      const bad = Buffer.from(provoke);
      bad.writeUInt32BE(id, 5);
      peer.send(headers(id, at("/hold"), endStream), bad);
    }
    await peer.gets(/GOAWAY \d+ ENHANCE_YOUR_CALM/);
    await peer.settled();
    t.ok(relay.calls.total < 40, `${relay.calls.total} calls`);
    t.ok(relay.limits.includes("resets"));
    t.equal(relay.calls.active, 1, "the innocent one");
    peer.send(rst(1, 8));
    await peer.closed();
  }
});

t.test("rapid reset between sidecars: most are allowed, and nobody else's stream is cut", async (t) => {
  const limits = { minStreamsForResets: 10, minMeshStreamsForResets: 40, floodGraceMs: 1 };
  const { relay, connect } = await server(t, { limits, isMesh: true, timeouts: { headMs: 20 } });
  const peer = connect().send(upload);
  const flood = (from: number, to: number): void => {
    for (let id = from; id < to; id += 2) peer.send(headers(id, at("/hold"), endStream), rst(id, 8));
  };
  flood(3, 75);
  await peer.settled();
  t.strictSame(relay.limits, []);
  flood(75, 103);
  await peer.gets("GOAWAY 79 ENHANCE_YOUR_CALM");
  t.strictSame(relay.limits, ["resets"]);
  // Several looks of the connection's timer later.
  await new Promise((resolve) => setTimeout(resolve, 60));
  t.equal(relay.calls.active, 1);
  peer.send(rst(1, 8));
  await peer.closed();
});

t.test(
  "resets that cross are no flood: an upload that is answered early is reset by both sides",
  async (t) => {
    const early = at("/early", "POST");
    const { relay, connect } = await server(t, { isMesh: true });
    const peer = connect();
    for (let from = 1; from < 3000; from += 200) {
      const ids = Array.from({ length: 100 }, (_, i) => from + 2 * i);
      peer.send(...ids.map((id) => headers(id, early)));
      await eventually("the answers", () => peer.words.includes(`RST ${ids.at(-1)} NO_ERROR`));
      peer.send(...ids.map((id) => rst(id, 8)));
    }
    peer.send(headers(3001, get, endStream));
    await eventually("a request after them", () => peer.words.includes("DATA 3001 2 END"));
    t.same(relay.limits, []);
    t.equal(relay.calls.total, 1501);
    // As often as there were streams, no more.
    peer.send(...Array<Buffer>(1002).fill(rst(2999, 8)));
    t.match((await peer.closed()).at(-1), "GOAWAY 3001 ENHANCE_YOUR_CALM");
    t.same(relay.limits, ["control_frames"]);
  },
);

t.test("row 38: a connection of small frames leaves the event loop to others", async (t) => {
  const { service, connect } = await server(t);
  const peer = connect().send(upload);
  await peer.settled();
  const sink = await eventually("the body", () => service.sinks[0]);
  // Ten reads of 64 KiB and more.
  const count = 200_000;
  peer.send(Buffer.concat(Array<Buffer>(count).fill(data(1, "x"))));
  let [before, most] = [0, 0];
  while (sink.chunks.length < count) {
    await new Promise((resolve) => setImmediate(resolve));
    most = Math.max(most, sink.chunks.length - before);
    before = sink.chunks.length;
  }
  t.ok(most < 25_000, `${most} frames in one turn`);
});

t.test("silence: no preface, no end of a head, no streams, idle streams, no answer to PING", async (t) => {
  const quick = { headMs: 60, idleMs: 10_000, streamIdleMs: 10_000, lingerMs: 50 };
  const first = await server(t, { timeouts: quick });
  t.same(await first.connect(clientPreface.subarray(0, 10)).closed(), []);
  t.same(await first.connect(clientPreface).closed(), []);
  t.same(first.relay.limits, ["settings_timeout", "settings_timeout"]);
  t.same(await first.connect(Buffer.concat([hello, noEnd])).closed(), ["GOAWAY 0 ENHANCE_YOUR_CALM"]);
  const half = open.subarray(0, 20);
  t.same(await first.connect(Buffer.concat([hello, half])).closed(), ["GOAWAY 0 ENHANCE_YOUR_CALM"]);
  const second = await server(t, { timeouts: { ...quick, idleMs: 60 }, limits: { goawayGraceMs: 30 } });
  t.same(await second.connect().closed(), [`GOAWAY ${2 ** 31 - 1} NO_ERROR`, "GOAWAY 0 NO_ERROR"]);
  const third = await server(t, { timeouts: { ...quick, streamIdleMs: 80 } });
  t.match((await third.connect().send(open).gets("HEADERS 1 504 END")).join(), /504/);
  t.equal(third.relay.errors[0]?.code, "stream_idle_timeout");
  const patient: Service = {
    call(request, reply) {
      request.hasOwnIdle = request.head.target === "/own";
      return { cancel: (error) => reply.end(error) };
    },
  };
  const own = await server(t, { timeouts: { ...quick, streamIdleMs: 80 }, service: patient });
  const both = Buffer.concat([headers(1, at("/own"), endStream), headers(3, at("/hold"), endStream)]);
  const words = await own.connect().send(both).gets("HEADERS 3 504 END");
  t.notMatch(words.join(), /HEADERS 1/, "a layer watches over the first");
  const fourth = await server(t, { timeouts: quick, limits: { pingMs: 50 } });
  const peer = fourth.connect().send(open);
  await peer.closed();
  t.same(peer.words, ["PING"]);
  t.same(fourth.relay.limits, ["ping_timeout"]);
  t.equal(fourth.relay.errors[0]?.code, "client_gone");
});

/** Frames of a whole conversation, cut anywhere, mean the same. */
t.test("a conversation that is cut at any byte", async (t) => {
  const conversation = Buffer.concat([
    hello,
    settingsAck,
    headers(1, { ...post, "x-a": "1" }),
    frame(0, frameFlag.padded, 1, Buffer.from([2, 65, 66, 67, 0, 0])),
    data(1, "defg"),
    frame(frameType.headers, 0, 3, block(post).subarray(0, 7)),
    frame(frameType.continuation, e, 3, block(post).subarray(7)),
    ping(),
    data(3, "hi", endStream),
    frame(0, frameFlag.padded, 1, Buffer.from([1, 0])),
    headers(1, { "x-sum": "1" }, endStream),
    windowUpdate(0, 5),
    headers(5, at("/big"), endStream),
    rst(5, 8),
  ]);
  const play = async (cuts: readonly number[]): Promise<string> => {
    const service = new Answering();
    const relay = await memoryRelay(service);
    const socket = new MemorySocket();
    const connection = relay.take(socket.asSocket);
    let from = 0;
    for (const to of [...cuts, conversation.length]) {
      socket.push(conversation.subarray(from, to));
      from = to;
      await new Promise((resolve) => void setImmediate(resolve));
    }
    await new Promise((resolve) => void setImmediate(resolve));
    connection.destroy();
    t.same(relay.calls.breaches, []);
    t.equal(relay.calls.active, 0);
    const bodies = service.sinks.map((sink) => `${sink.bytes.toString()} ${String(sink.trailers)}`);
    const out = describe(socket.cutter.frames, new HpackDecoder(4096)).filter(
      (line) => !/ 5 |WINDOW/.test(line),
    );
    return [...bodies, ...out.sort()].join("; ");
  };
  const whole = await play([]);
  t.match(
    whole,
    /^ABCdefg x-sum,1; hi null; DATA 1 7 END; DATA 3 2 END; HEADERS 1 200; HEADERS 3 200; PING ACK$/,
  );
  for (let cut = 1; cut < conversation.length; cut++) {
    const got = await play([cut]);
    if (got !== whole) t.equal(got, whole, `cut at ${cut}`);
  }
  const bytewise = await play(Array.from({ length: conversation.length - 1 }, (_, i) => i + 1));
  t.equal(bytewise, whole, "byte by byte");
});

async function memoryRelay(service: Service): Promise<Http2Relay> {
  const teardowns: (() => void)[] = [];
  const test = { teardown: (fn: () => void) => void teardowns.push(fn) } as unknown as Test;
  const relay = await Http2Relay.open(test, { upstreamPort: 0, service });
  relay.close();
  return relay;
}

const anyFrame: fc.Arbitrary<Buffer> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc
      .nat(6)
      .chain((n) =>
        fc
          .constantFrom(
            get,
            post,
            at("/hold", "POST"),
            at("/early", "POST"),
            at("/unread", "POST"),
            at("/big"),
          )
          .map((fields) => headers(2 * n + 1, fields)),
      ),
  },
  { weight: 3, arbitrary: fc.nat(6).map((n) => headers(2 * n + 1, get, endStream)) },
  {
    weight: 4,
    arbitrary: fc
      .tuple(fc.nat(6), fc.nat(3000), fc.boolean())
      .map(([n, size, isEnd]) => data(2 * n + 1, Buffer.alloc(size), isEnd ? endStream : 0)),
  },
  fc.tuple(fc.nat(6), fc.nat(14)).map(([n, code]) => rst(2 * n + 1, code)),
  fc.tuple(fc.nat(8), fc.nat(70_000)).map(([n, size]) => windowUpdate(n, size)),
  fc.nat(100_000).map((size) => settings([4, size])),
  fc.constantFrom(
    ping(),
    settings(),
    settingsAck,
    goaway(0),
    priority(1, 1),
    headers(1, { a: "b" }, endStream),
  ),
  fc
    .tuple(fc.nat(12), fc.nat(255), fc.nat(8), fc.uint8Array({ maxLength: 40 }))
    .map(([type, flags, id, bytes]) => frame(type, flags, id, Buffer.from(bytes))),
);

t.test("no sequence of frames throws, leaves a call open or breaks the contract of replies", async (t) => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(anyFrame, { maxLength: 30 }),
      fc.infiniteStream(fc.integer({ min: 1, max: 4000 })),
      async (frames, sizes) => {
        const service = new Answering();
        const relay = await memoryRelay(service);
        const socket = new MemorySocket();
        const connection = relay.take(socket.asSocket);
        const bytes = Buffer.concat([hello, ...frames]);
        for (let from = 0; from < bytes.length;) {
          const size = sizes.next().value as number;
          socket.push(bytes.subarray(from, from + size));
          from += size;
          await new Promise((resolve) => void setImmediate(resolve));
        }
        connection.destroy();
        await new Promise((resolve) => void setImmediate(resolve));
        return relay.calls.active === 0 && relay.calls.breaches.length === 0 && relay.closed === 1;
      },
    ),
    { numRuns: 300 },
  );
  t.pass("held");
});

// The client's side.

interface Played {
  readonly relay: Http2Relay;
  readonly peers: FramePeer[];
  readonly send: (request?: RequestContext) => { reply: RecordedReply; call: Call };
}

async function client(t: Test, options: Partial<RelayOptions> = {}, first = settings()): Promise<Played> {
  const peers: FramePeer[] = [];
  const upstreamPort = await listenFrames(t, (peer) => {
    peers.push(peer);
    peer.send(first);
  });
  const relay = await Http2Relay.open(t, { upstreamPort, ...options });
  return {
    relay,
    peers,
    send: (request = scriptedRequest()) => {
      const reply = new RecordedReply();
      return { reply, call: relay.client().send(request, reply) };
    },
  };
}

const ok = { ":status": "200" };

/** Name, request, what the server sends when HEADERS 1 has come, outcome, what the client sends then. */
const answers: readonly (readonly [string, string, readonly Buffer[], string, string])[] = [
  ["a response", "GET", [headers(1, ok, endStream)], "200", ""],
  ["a response with a body", "GET", [headers(1, ok), data(1, "x", endStream)], "200", ""],
  ["refused", "GET", [rst(1, 7)], "upstream_unprocessed", ""],
  ["reset", "GET", [rst(1, 2)], "upstream_reset", ""],
  ["reset after the head", "GET", [headers(1, ok), rst(1, 2)], "200 upstream_truncated", ""],
  ["NO_ERROR before the end", "GET", [headers(1, ok), rst(1, 0)], "200 upstream_truncated", ""],
  ["NO_ERROR after the end", "GET", [headers(1, ok), data(1, "x", endStream), rst(1, 0)], "200", ""],
  ["not taken", "GET", [goaway(0)], "upstream_unprocessed", "GOAWAY 0 NO_ERROR"],
  ["taken", "GET", [goaway(1), headers(1, ok, endStream)], "200", "GOAWAY 0 NO_ERROR"],
  [
    "content in a response to HEAD",
    "HEAD",
    [headers(1, ok), data(1, "x")],
    "200 upstream_protocol_error",
    "RST 1 PROTOCOL_ERROR",
  ],
  [
    "content in 204",
    "GET",
    [headers(1, { ":status": "204" }), data(1, "x")],
    "204 upstream_protocol_error",
    "RST 1 PROTOCOL_ERROR",
  ],
  ["an empty end of 204", "GET", [headers(1, { ":status": "204" }), data(1, "", endStream)], "204", ""],
  ["DATA before the head", "GET", [data(1, "x")], "upstream_protocol_error", "RST 1 PROTOCOL_ERROR"],
  [
    "less than content-length",
    "GET",
    [headers(1, { ...ok, "content-length": "3" }), data(1, "ab", endStream)],
    "200 upstream_protocol_error",
    "",
  ],
  [
    "content-length without content",
    "GET",
    [headers(1, { ...ok, "content-length": "3" }, endStream)],
    "upstream_protocol_error",
    "",
  ],
  [
    "no status",
    "GET",
    [headers(1, { a: "b" }, endStream)],
    "upstream_protocol_error",
    "RST 1 PROTOCOL_ERROR",
  ],
  [
    "an upper-case name",
    "GET",
    [headers(1, { ...ok, A: "b" }, endStream)],
    "upstream_protocol_error",
    "RST 1 PROTOCOL_ERROR",
  ],
  [
    "a head over the limit",
    "GET",
    [headers(1, { ...ok, a: "x".repeat(9000), b: "x".repeat(7000) }, endStream)],
    "upstream_headers_too_large",
    "RST 1 PROTOCOL_ERROR",
  ],
  [
    "too many interim responses",
    "GET",
    Array<Buffer>(33).fill(headers(1, { ":status": "103" })),
    "upstream_protocol_error",
    "RST 1 PROTOCOL_ERROR",
  ],
  ["101", "GET", [headers(1, { ":status": "101" })], "upstream_protocol_error", "RST 1 PROTOCOL_ERROR"],
  [
    "an end before the head",
    "GET",
    [headers(1, { ":status": "103" }, endStream)],
    "upstream_protocol_error",
    "RST 1 PROTOCOL_ERROR",
  ],
  [
    "PUSH_PROMISE",
    "GET",
    [frame(frameType.pushPromise, e, 1, Buffer.alloc(4))],
    "upstream_protocol_error",
    "GOAWAY 0 PROTOCOL_ERROR",
  ],
  ["a stream of the server", "GET", [headers(2, ok)], "upstream_protocol_error", "GOAWAY 0 PROTOCOL_ERROR"],
  [
    "a stream that was never begun",
    "GET",
    [headers(9, ok)],
    "upstream_protocol_error",
    "GOAWAY 0 PROTOCOL_ERROR",
  ],
  ["ENABLE_PUSH 1", "GET", [settings([2, 1])], "upstream_protocol_error", "GOAWAY 0 PROTOCOL_ERROR"],
  [
    "bad HPACK",
    "GET",
    [frame(1, e, 1, Buffer.from([0xff, 0xff, 0xff, 0xff, 0xff, 0xff]))],
    "upstream_protocol_error",
    "GOAWAY 0 COMPRESSION_ERROR",
  ],
  ["an early answer to an upload", "POST", [headers(1, ok, endStream)], "200", "RST 1 CANCEL"],
  [
    "a refused upload",
    "POST",
    [headers(1, { ":status": "413" }), data(1, "x", endStream)],
    "413",
    "RST 1 CANCEL",
  ],
];

t.test("what a client makes of frames", async (t) => {
  for (const [name, method, frames, outcome, sent] of answers) {
    const { relay, peers } = await client(t, { limits: { maxHeadBytes: 16_000 } });
    const body = method === "POST" ? new ScriptedSource() : undefined;
    const request = scriptedRequest({ method, ...(body === undefined ? {} : { body }) });
    const reply = new RecordedReply();
    const attached: Reply = {
      informational: (head) => void reply.informational(head),
      head: (head, source) => {
        reply.head(head);
        source?.attach(new ScriptedSink());
      },
      end: (error) => void reply.end(error),
    };
    relay.client().send(request, attached);
    await eventually(`${name}: HEADERS`, () => peers[0]?.words.some((word) => word.startsWith("HEADERS 1")));
    const peer = peers[0] as FramePeer;
    peer.send(...frames);
    await eventually(`${name}: over, ${reply.outcome}`, () => reply.ends === 1);
    t.equal(reply.outcome, outcome, name);
    if (sent !== "") await peer.gets(sent);
    t.equal(
      relay.limits.length > 0,
      /protocol_error|too_large/.test(outcome),
      `${name}: ${relay.limits.join()}`,
    );
    if (body !== undefined) t.ok(body.cancelledWith, "the upload was stopped");
    t.equal(relay.clients[0]?.activeStreams, 0);
    relay.close();
  }
});

t.test("a client tells that the server speaks HTTP/1", async (t) => {
  const { peers, send } = await client(t, {}, Buffer.from("HTTP/1.1 400 Bad Request\r\n\r\n"));
  const { reply } = send();
  await eventually("over", () => reply.ends === 1);
  t.match(reply.error, { code: "upstream_protocol_error", detail: /it speaks HTTP\/1; correct the service/ });
  t.equal(peers.length, 1);
});

t.test("calls that are cancelled", async (t) => {
  const { relay, peers, send } = await client(t);
  const error = new ProxyError("attempt_timeout", "scripted");
  const first = send();
  await eventually("HEADERS", () => peers[0]?.words.includes("HEADERS 1 GET END"));
  first.call.cancel(error);
  t.equal(first.reply.outcome, "attempt_timeout", "at once");
  first.call.cancel(error);
  const peer = peers[0] as FramePeer;
  await peer.gets("RST 1 CANCEL");
  // What was under way does no harm, and the table of the decoder follows it.
  peer.send(
    frame(1, e, 1, Buffer.concat([Buffer.from([0x40]), block({ "x-a": "1" }).subarray(1)])),
    data(1, "x"),
  );
  const second = send();
  await peer.gets("HEADERS 3 GET END");
  peer.send(frame(1, e | endStream, 3, Buffer.from([0x88, 0xbe])));
  await eventually("over", () => second.reply.ends === 1);
  t.equal(second.reply.outcome, "200");
  t.equal(relay.clients.length, 1);
});

t.test("a connection that breaks, and one that is silent", async (t) => {
  const { relay, peers, send } = await client(t, { limits: { pingMs: 60 } });
  const before = send();
  await eventually("HEADERS", () => peers[0]?.words.includes("HEADERS 1 GET END"));
  peers[0]?.socket.resetAndDestroy();
  await eventually("over", () => before.reply.ends === 1);
  t.match(before.reply.outcome, /^upstream_(?:reset|closed)$/);
  t.equal(relay.closedClients, 1);
  const silent = send();
  await eventually("over", () => silent.reply.ends === 1);
  t.equal(silent.reply.outcome, "upstream_closed");
  t.match(silent.reply.error?.message, /ETIMEDOUT/);
  t.same(relay.limits, ["ping_timeout"]);
  const unsent = send();
  relay.clients.at(-1)?.destroy(new ProxyError("upstream_closed", "scripted"));
  t.equal(unsent.reply.outcome, "upstream_closed");
});

for (const isComplete of [false, true])
  t.test(
    `resets that cross: the server's, of uploads that ${isComplete ? "are over" : "go on"}`,
    async (t) => {
      const { relay, peers, send } = await client(t);
      const replies: RecordedReply[] = [];
      for (let from = 1; from < 3000; from += 200) {
        const ids = Array.from({ length: 100 }, (_, i) => from + 2 * i);
        for (let i = 0; i < ids.length; i++) {
          const body = new ScriptedSource(-1, null);
          replies.push(send(scriptedRequest({ method: "POST", body })).reply);
          if (isComplete) body.arrive("end");
        }
        const last = `HEADERS ${ids.at(-1)} POST${isComplete ? " END" : ""}`;
        await eventually("the requests", () => peers[0]?.words.includes(last));
        const early = ids.map((id) =>
          Buffer.concat([headers(id, { ":status": "403" }, endStream), rst(id, 0)]),
        );
        peers[0]?.send(...early);
        await eventually("the answers", () => replies.every(({ ends }) => ends === 1));
      }
      t.same([...new Set(replies.map(({ outcome }) => outcome))], ["403"]);
      t.same(relay.limits, []);
      t.equal(relay.clients.length, 1);
    },
  );

t.test("a tunnel waits for the settings of its peer, but not for a peer that is gone", async (t) => {
  const { relay, peers, send } = await client(t, { limits: { pingMs: 60 } }, Buffer.alloc(0));
  const request = scriptedRequest({ body: new ScriptedSource() });
  request.head.upgrade = "websocket";
  const { reply } = send(request);
  await eventually("a PING", () => peers[0]?.words.includes("PING"));
  t.notMatch(peers[0]?.words.join(), "HEADERS");
  await eventually("over", () => reply.ends === 1);
  t.equal(reply.outcome, "upstream_unprocessed");
  t.same(relay.limits, ["ping_timeout"]);
});

t.test("retire and the peer's own bounds", async (t) => {
  const { relay, peers, send } = await client(t, {}, settings([3, 2]));
  const first = send();
  const connection = relay.client();
  t.equal(connection.maxStreams, 100, "presumed until it is told");
  await eventually("told", () => connection.maxStreams === 2);
  send();
  t.equal(connection.canSend, false);
  t.equal(connection.activeStreams, 2);
  connection.retire();
  const peer = peers[0] as FramePeer;
  await peer.gets("HEADERS 3 GET END");
  peer.send(headers(3, ok, endStream), headers(1, ok, endStream));
  t.match(await peer.gets("GOAWAY 0 NO_ERROR"), ["HEADERS 1 GET END"]);
  t.equal(first.reply.outcome, "200");
  const late = new RecordedReply();
  connection.send(scriptedRequest(), late);
  t.equal(late.outcome, "upstream_unprocessed");
  await eventually("closed", () => relay.closedClients === 1);
});

t.test("uploads: windows, trailers, a client that breaks off", async (t) => {
  const { peers, send } = await client(t, {}, settings([4, 10]));
  const body = new ScriptedSource();
  const { reply } = send(scriptedRequest({ method: "POST", body }));
  await eventually("settings", () => (peers[0]?.frames.length ?? 0) >= 3);
  const peer = peers[0] as FramePeer;
  body.arrive(Buffer.from("0123456789abcdef"), "end");
  await peer.gets("DATA 1 10");
  t.ok(body.isPaused);
  peer.send(windowUpdate(1, 100));
  await peer.gets("DATA 1 6");
  await peer.gets("HEADERS 1 x-checksum,1 END");
  peer.send(headers(1, ok, endStream));
  await eventually("over", () => reply.ends === 1);
  const broken = new ScriptedSource();
  const second = send(scriptedRequest({ method: "POST", body: broken }));
  await peer.gets("HEADERS 3 POST");
  broken.fail(new ProxyError("client_gone", "scripted"));
  t.equal(second.reply.outcome, "client_gone");
  await peer.gets("RST 3 CANCEL");
});

// Counting alone.

t.test("the flood guard", async (t) => {
  const limits = { ...http2Limits, minStreamsForResets: 10, maxControlFrames: 5, maxPriorityFrames: 2 };
  const first = (event: (i: number) => Http2Limit | null, most = 1000): number => {
    for (let i = 1; i <= most; i++) if (event(i) !== null) return i;
    return 0;
  };
  const opened = (streams: number): FloodGuard => {
    const guard = new FloodGuard(limits, false);
    for (let i = 0; i < streams; i++) guard.streamOpened();
    return guard;
  };
  t.equal(
    first(() => opened(0).streamReset(0)),
    0,
  );
  const steady = opened(12);
  t.equal(
    first(() => steady.streamReset(0)),
    7,
    "more than half of twelve",
  );
  const old = opened(12);
  t.equal(
    first(() => old.streamReset(1000)),
    0,
    "old streams do not count",
  );
  const long = opened(10_000);
  t.ok(first(() => long.streamReset(0)) <= 11, "a long good life does not pay for a flood");
  const few = opened(2);
  t.equal(
    first(() => few.streamReset(0)),
    11,
    "more resets than streams",
  );
  const control = opened(0);
  t.equal(
    first(() => control.controlFrame(500)),
    6,
  );
  const late = opened(3);
  t.equal(
    first(() => late.lateReset(500)),
    9,
    "one for each stream, then as control frames",
  );
  const spread = opened(0);
  t.equal(
    first((i) => spread.controlFrame(i * 250)),
    0,
  );
  const empty = opened(0);
  t.equal(
    first(() => empty.contentFrame(true)),
    2,
  );
  const mixed = opened(0);
  t.equal(
    first((i) => mixed.contentFrame(i % 2 === 0)),
    0,
  );
  const calm = opened(3);
  t.equal(
    first(() => calm.priorityFrame()),
    9,
    "two for each of three streams and the connection",
  );
  const windows = opened(1);
  windows.dataSent(2);
  t.equal(
    first(() => windows.windowUpdate()),
    100 + 2 + 20 + 1,
  );
});
