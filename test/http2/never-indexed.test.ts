/** RFC 7541 §6.2.3: what its sender wants in no table of HPACK must be in none on its further way either. */
import t, { type Test } from "tap";
import { HpackDecoder } from "../../src/http2/hpack-decoder.js";
import { eventually } from "../support/eventually.js";
import {
  block,
  endStream,
  frame,
  frameFlag,
  FramePeer,
  frameType,
  get,
  listenFrames,
  settings,
  type Frame,
} from "../support/http2-frames.js";
import { Http2Relay } from "../support/http2-relay.js";

/** HEADERS of a message without a body; the fields of `secret` are literals never indexed. */
function message(
  streamId: number,
  fields: Readonly<Record<string, string>>,
  secret: Readonly<Record<string, string>>,
): Buffer {
  const literals = Object.entries(secret).map(([name, value]) =>
    Buffer.concat([Buffer.from([0x10]), block({ [name]: value }).subarray(1)]),
  );
  const payload = Buffer.concat([block(fields), ...literals]);
  return frame(frameType.headers, endStream | frameFlag.endHeaders, streamId, payload);
}

/** For each head that came: which of its fields were written never indexed. */
function neverIndexed(frames: readonly Frame[]): string[][] {
  const decoder = new HpackDecoder(4096);
  return frames
    .filter(({ type }) => type === frameType.headers)
    .map(({ payload }) => {
      decoder.decode(payload, 0, payload.length, [], 1e6, 1e4);
      return [...(decoder.neverIndexed ?? [])].sort();
    });
}

async function open(t: Test, isMesh: boolean): Promise<{ peer: FramePeer; upstream: () => FramePeer }> {
  const peers: FramePeer[] = [];
  const upstreamPort = await listenFrames(t, (peer) => {
    peers.push(peer);
    peer.send(settings());
  });
  const relay = await Http2Relay.open(t, { upstreamPort, isMesh });
  return { peer: FramePeer.connect(t, relay.port), upstream: () => peers[0] as FramePeer };
}

for (const isMesh of [false, true]) {
  t.test(`a request and its response, ${isMesh ? "from a sidecar" : "from a client"}`, async (t) => {
    const { peer, upstream } = await open(t, isMesh);
    const plain = { ...get, "x-plain": "1234" };
    for (const id of [1, 3, 5]) {
      peer.send(message(id, plain, { "x-pin": "1234" }));
      await eventually(`request ${id}`, () =>
        upstream()?.words.some((word) => word.startsWith(`HEADERS ${id} `)),
      );
      upstream().send(message(id, { ":status": "200", "x-plain": "1234" }, { "x-token": "abcd" }));
      await peer.gets(`HEADERS ${id} 200 END`);
    }
    t.strictSame(neverIndexed(upstream().frames), [["x-pin"], ["x-pin"], ["x-pin"]]);
    t.strictSame(neverIndexed(peer.frames), [["x-token"], ["x-token"], ["x-token"]]);
    const last = upstream().frames.findLast(({ type }) => type === frameType.headers);
    t.notMatch(last?.payload.toString("latin1"), "x-plain", "what may be indexed is, by the third time");
  });
}

t.test("pseudo-headers, too", async (t) => {
  const { peer, upstream } = await open(t, false);
  const { ":path": path, ":authority": authority, ...rest } = get;
  peer.send(message(1, {}, { ...rest, ":path": path, ":authority": authority }));
  await eventually("the request", () => upstream()?.words.includes("HEADERS 1 GET END"));
  t.strictSame(neverIndexed(upstream().frames), [[":authority", ":path"]]);
});

t.test("one message's wish is not the next one's", async (t) => {
  const { peer, upstream } = await open(t, false);
  peer.send(message(1, get, { "x-pin": "1234" }));
  peer.send(message(3, { ...get, "x-pin": "1234" }, {}));
  await eventually("both requests", () => upstream()?.words.includes("HEADERS 3 GET END"));
  t.strictSame(neverIndexed(upstream().frames), [["x-pin"], []]);
});
