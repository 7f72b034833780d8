/** Every bound of a connection: who goes over it is counted under its name, at the side that it was. */
import t, { type Test } from "tap";
import { http2LimitNames, type Http2Limit } from "../../src/http2/limits.js";
import type { Service } from "../../src/stack/service.js";
import { eventually } from "../support/eventually.js";
import {
  block,
  clientPreface,
  data,
  endStream,
  frame,
  frameFlag,
  FramePeer,
  frameType,
  get,
  headers,
  hello,
  listenFrames,
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

/** Takes no body and never answers. */
const silent: Service = { call: (_request, reply) => ({ cancel: (error) => reply.end(error) }) };

const many = (count: number, make: (id: number) => Buffer): Buffer =>
  Buffer.concat(Array.from({ length: count }, (_, i) => make(2 * i + 1)));
const open = headers(1, get, endStream);
const upload = headers(1, post);
const noEnd = frame(frameType.headers, 0, 1, block(get));
const more = frame(frameType.continuation, 0, 1, Buffer.from([0]));
const full = Buffer.alloc(16_384);

interface Excess {
  /** What a client says. */
  readonly says: Buffer;
  readonly options?: Partial<RelayOptions>;
  /** It reads nothing. */
  readonly isDeaf?: boolean;
}

const quick = { headMs: 50, idleMs: 5000, streamIdleMs: 5000, lingerMs: 50 };

const excesses: Readonly<Record<Http2Limit, Excess>> = {
  streams: { says: Buffer.concat([hello, settingsAck, many(101, (id) => headers(id, get, endStream))]) },
  head_bytes: {
    says: Buffer.concat([hello, headers(1, { ...get, a: "x".repeat(9000) }, endStream)]),
    options: { limits: { maxHeadBytes: 8000 } },
  },
  header_count: {
    says: Buffer.concat([hello, headers(1, { ...get, a: "1", b: "2" }, endStream)]),
    options: { limits: { maxHeaders: 5 } },
  },
  target_bytes: {
    says: Buffer.concat([hello, headers(1, { ...get, ":path": `/${"x".repeat(100)}` }, endStream)]),
    options: { limits: { maxTargetBytes: 100 } },
  },
  continuations: { says: Buffer.concat([hello, noEnd, ...Array<Buffer>(9).fill(more)]) },
  owed_frames: {
    says: Buffer.concat([hello, ...Array<Buffer>(500_000).fill(ping())]),
    options: { limits: { maxControlFrames: 1e9 } },
    isDeaf: true,
  },
  empty_frames: { says: Buffer.concat([hello, upload, data(1, ""), data(1, "")]) },
  priority_frames: { says: Buffer.concat([hello, ...Array<Buffer>(101).fill(priority(3, 5))]) },
  window_updates: { says: Buffer.concat([hello, ...Array<Buffer>(101).fill(windowUpdate(0, 1))]) },
  control_frames: { says: Buffer.concat([hello, ...Array<Buffer>(1001).fill(settingsAck)]) },
  resets: {
    says: Buffer.concat([hello, many(250, (id) => Buffer.concat([headers(id, get, endStream), rst(id, 8)]))]),
  },
  held_bytes: {
    says: Buffer.concat([
      ...[hello, upload, ...Array<Buffer>(4).fill(data(1, full))],
      ...[headers(3, post), ...Array<Buffer>(4).fill(data(3, full))],
    ]),
    options: { limits: { maxHeldBytes: 100_000 } },
  },
  ping_timeout: { says: Buffer.concat([hello, open]), options: { limits: { pingMs: 40 }, timeouts: quick } },
  settings_timeout: { says: clientPreface, options: { timeouts: quick } },
  protocol_error: { says: Buffer.concat([hello, windowUpdate(0, 0)]) },
  compression_error: {
    says: Buffer.concat([hello, frame(frameType.headers, frameFlag.endHeaders, 1, Buffer.alloc(6, 0xff))]),
  },
  flow_control_error: {
    says: Buffer.concat([hello, upload, ...Array<Buffer>(17).fill(data(1, full))]),
  },
  frame_size_error: { says: Buffer.concat([hello, frame(frameType.data, 0, 1, Buffer.alloc(0), 16_385)]) },
};

for (const limit of http2LimitNames) {
  t.test(`downstream: ${limit}`, async (t) => {
    const { says, options, isDeaf = false } = excesses[limit];
    const relay = await Http2Relay.open(t, { upstreamPort: 0, service: silent, ...options });
    const peer = FramePeer.connect(t, relay.port, says);
    if (isDeaf) peer.socket.pause();
    await eventually(`${limit} among ${relay.limits.join()}`, () => relay.limits.includes(limit));
  });
}

/** What an upstream says to a request. */
const answers: Partial<Readonly<Record<Http2Limit, Buffer>>> = {
  head_bytes: headers(1, { ":status": "200", a: "x".repeat(9000) }, endStream),
  header_count: headers(1, [":status", "200", ...Array<string>(40).fill("a")], endStream),
  continuations: Buffer.concat([noEnd, ...Array<Buffer>(9).fill(more)]),
  empty_frames: Buffer.concat([headers(1, { ":status": "200" }), data(1, ""), data(1, "")]),
  priority_frames: Buffer.concat(Array<Buffer>(300).fill(priority(3, 5))),
  window_updates: Buffer.concat(Array<Buffer>(200).fill(windowUpdate(0, 1))),
  control_frames: Buffer.concat(Array<Buffer>(1001).fill(settingsAck)),
  ping_timeout: Buffer.alloc(0),
  protocol_error: many(33, () => headers(1, { ":status": "103" })),
  compression_error: frame(frameType.headers, frameFlag.endHeaders, 1, Buffer.alloc(6, 0xff)),
  flow_control_error: windowUpdate(0, 2 ** 31 - 1),
  frame_size_error: frame(frameType.data, 0, 1, Buffer.alloc(0), 16_385),
};

for (const [limit, says] of Object.entries(answers) as [Http2Limit, Buffer][]) {
  t.test(`upstream: ${limit}`, (t) => answered(t, limit, says));
}

async function answered(t: Test, limit: Http2Limit, says: Buffer): Promise<void> {
  const upstreamPort = await listenFrames(t, (peer) => {
    peer.send(settings());
    peer.socket.once("data", () => void peer.send(says));
  });
  const limits = { maxHeadBytes: 8000, maxHeaders: 15, pingMs: limit === "ping_timeout" ? 40 : 5000 };
  const relay = await Http2Relay.open(t, { upstreamPort, limits });
  const reply = new RecordedReply();
  relay.client().send(scriptedRequest(), reply);
  await eventually(`${limit} among ${relay.limits.join()}`, () => relay.limits.includes(limit));
  await eventually("the call has ended", () => reply.ends === 1);
}
