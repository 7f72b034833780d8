/** What the clients of a sidecar share, the HTTP/2 connections to another sidecar, and upstreams that behave badly on one. */
import t, { type Test } from "tap";
import { clusterDefaults } from "../../src/config/cluster-defaults.js";
import { RetryBudget } from "../../src/policy/retry-budget.js";
import { retry } from "../../src/policy/retry.js";
import type { Layer } from "../../src/stack/service.js";
import { Counter } from "../../src/telemetry/cells.js";
import { systemClock } from "../../src/time/clock.js";
import type { TimerWheel } from "../../src/time/timer-wheel.js";
import { ByteUpstream, okText, type Script } from "../support/byte-upstream.js";
import { eventually } from "../support/eventually.js";
import {
  data,
  endStream,
  type Frame,
  FramePeer,
  frameType,
  get,
  goaway,
  headers,
  listenFrames,
  rst,
  settings,
  windowUpdate,
} from "../support/http2-frames.js";
import { ProxyPair } from "../support/proxy-pair.js";

const megabyte = 2 ** 20;
const at = (path: string, method = "GET"): Record<string, string> => ({
  ...get,
  ":method": method,
  ":path": path,
});

/** An application that speaks frames: `onFrame` is told of each that comes, with its connection's number. */
async function frameApp(
  t: Test,
  onFrame: (peer: FramePeer, frame: Frame, index: number) => void,
  first: Buffer = settings(),
): Promise<{ readonly port: number; readonly peers: FramePeer[] }> {
  const peers: FramePeer[] = [];
  const port = await listenFrames(t, (peer) => {
    const index = peers.push(peer) - 1;
    peer.send(first);
    let seen = 0;
    peer.socket.on("data", () => {
      while (seen < peer.frames.length) onFrame(peer, peer.frames[seen++] as Frame, index);
    });
  });
  return { port, peers };
}

const meters = () => ({
  retries: new Counter(),
  successes: new Counter(),
  overflows: new Counter(),
  exhausted: new Counter(),
});
const oneRetry = (wheel: TimerWheel): readonly Layer[] => [
  retry({
    config: undefined,
    budget: new RetryBudget(clusterDefaults.retryBudget),
    wheel,
    clock: systemClock,
    meters: meters(),
  }),
];
const answered = (id: number): Buffer => headers(id, { ":status": "200" }, endStream);
const isRequest = ({ type }: Frame): boolean => type === frameType.headers;

t.test("row 50: GOAWAY in the middle of the load", async (t) => {
  const worked: string[] = [];
  const { port, peers } = await frameApp(t, (peer, frame, index) => {
    if (!isRequest(frame)) return;
    const { streamId } = frame;
    if (index > 0) {
      worked.push(`${index}`);
      peer.send(answered(streamId));
    } else if (streamId === 39) {
      // Ten of the twenty were worked on; their answers come afterwards.
      peer.send(goaway(19));
      for (let id = 1; id <= 19; id += 2) {
        worked.push("0");
        peer.send(answered(id));
      }
    }
  });
  const pair = await ProxyPair.open(t, { upstreamPort: port, hops: 1, app: "http2", layers: oneRetry });
  const client = FramePeer.connect(t, pair.port);
  // All on one connection: it is there before they come.
  client.send(...Array.from({ length: 20 }, (_, i) => headers(2 * i + 1, at(`/${i}`, "POST"), endStream)));
  for (let id = 1; id <= 39; id += 2) await client.gets(`HEADERS ${id} 200 END`);
  t.equal(worked.filter((index) => index === "0").length, 10, "what it took is answered by it");
  t.equal(worked.length, 20, "each request was worked on once");
  t.ok(peers.length >= 2);
});

t.test("row 50: REFUSED_STREAM is sent again, once, whatever the method", async (t) => {
  let refusals = 0;
  const { port } = await frameApp(t, (peer, frame) => {
    if (!isRequest(frame)) return;
    if (frame.streamId % 4 === 1) peer.send(rst(frame.streamId, 7));
    else peer.send(answered(frame.streamId));
    if (frame.streamId % 4 === 1) refusals++;
  });
  const pair = await ProxyPair.open(t, {
    ...{ upstreamPort: port, hops: 1, app: "http2", layers: oneRetry },
    pool: { maxConnections: 1 },
  });
  const client = FramePeer.connect(t, pair.port);
  for (let id = 1; id <= 21; id += 2) {
    client.send(headers(id, at("/", "POST"), endStream));
    await client.gets(`HEADERS ${id} 200 END`);
  }
  t.ok(refusals >= 5, `${refusals} were refused`);
});

t.test("row 50: MAX_CONCURRENT_STREAMS lowered to 1, to 0, and raised again", async (t) => {
  const waiting: number[] = [];
  let most = 0;
  const { port, peers } = await frameApp(t, (_, frame) => {
    if (!isRequest(frame)) return;
    waiting.push(frame.streamId);
    most = Math.max(most, waiting.length);
  });
  const pair = await ProxyPair.open(t, {
    ...{ upstreamPort: port, hops: 1, app: "http2" },
    pool: { maxConnections: 1, maxPendingRequests: 20 },
  });
  const client = FramePeer.connect(t, pair.port).send(headers(1, get, endStream));
  await eventually("the first request", () => waiting.length === 1);
  const app = peers[0] as FramePeer;
  const answerOne = (): FramePeer => app.send(answered(waiting.shift() as number));
  app.send(settings([3, 1]));
  await app.settled();
  client.send(...Array.from({ length: 10 }, (_, i) => headers(2 * i + 3, get, endStream)));
  await client.settled();
  t.equal(waiting.length, 1, "no second stream");
  for (let n = 0; n < 5; n++) {
    answerOne();
    await eventually("the next", () => waiting.length === 1);
  }
  t.equal(most, 1);
  app.send(settings([3, 0]));
  await app.settled();
  answerOne();
  await client.gets("HEADERS 11 200 END");
  await app.settled();
  t.equal(waiting.length, 0, "none while none is allowed");
  // The queue has its bound: whoever finds no place is told at once.
  client.send(...Array.from({ length: 20 }, (_, i) => headers(2 * i + 23, get, endStream)));
  await client.gets(/HEADERS \d+ 503/);
  app.send(settings([3, 100]));
  await eventually("all that waited", () => waiting.length >= 20);
  while (waiting.length > 0) answerOne();
  await pair.idle();
  await client.settled();
  const statuses = client.words
    .filter((word) => word.startsWith("HEADERS"))
    .map((word) => word.split(" ")[2]);
  t.equal(statuses.length, 31, "each has its answer");
  t.strictSame([...new Set(statuses)].sort(), ["200", "503"]);
});

t.test("row 50: the window of streams is changed under way", async (t) => {
  const { port, peers } = await frameApp(
    t,
    (peer, frame) => {
      if (isRequest(frame) && frame.flags % 2 === 1) peer.send(answered(frame.streamId));
    },
    settings([4, 1000]),
  );
  const pair = await ProxyPair.open(t, { upstreamPort: port, hops: 1, app: "http2" });
  const client = FramePeer.connect(t, pair.port).send(headers(1, get, endStream));
  // From now on the settings are known.
  await client.gets("HEADERS 1 200 END");
  client.send(headers(3, at("/", "POST")), data(3, Buffer.alloc(10_000)));
  await eventually("the first window", () => peers[0]?.bytesOf(3) === 1000);
  const app = peers[0] as FramePeer;
  app.send(settings([4, 0]), windowUpdate(3, 1000));
  await app.settled();
  t.equal(app.bytesOf(3), 1000, "1000 below zero and back");
  app.send(windowUpdate(3, 500));
  await eventually("what was allowed", () => app.bytesOf(3) === 1500);
  app.send(settings([4, 100_000]));
  await eventually("the rest", () => app.bytesOf(3) === 10_000);
  client.send(data(3, "", endStream));
  await app.gets(/DATA 3 .*END/);
  app.send(answered(3));
  await client.gets("HEADERS 3 200 END");
});

t.test("row 53: stalled streams, as many as a connection carries, do not stop the others", async (t) => {
  // An endless response to /stall, a small one to the rest, and one that the test writes by hand.
  const large = Buffer.alloc(megabyte);
  const script: Script = (peer) => {
    peer.onData = (_, chunk) => {
      const head = chunk.toString("latin1");
      if (head.startsWith("GET /stall ")) {
        peer.write(`HTTP/1.1 200 OK\r\nContent-Length: ${large.length}\r\n\r\n`);
        peer.write(large);
      } else if (head.startsWith("GET /slow ")) {
        peer.write("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
      } else peer.write(okText);
    };
  };
  const upstream = await ByteUpstream.open(t, script);
  const pair = await ProxyPair.open(t, { upstreamPort: upstream.port });
  const innocent = FramePeer.connect(t, pair.port).send(headers(1, at("/slow"), endStream));
  await innocent.gets("HEADERS 1 200");
  const slow = await upstream.connection(0);
  // 90 streams at once: they land on the connection that carries the innocent one.
  const stalled = FramePeer.connect(t, pair.port);
  stalled.send(...Array.from({ length: 90 }, (_, i) => headers(2 * i + 1, at("/stall"), endStream)));
  await stalled.gets("HEADERS 179 200");
  await eventually("the windows of all are full", () => upstream.connections.length >= 91);
  const before = innocent.bytesOf(1);
  slow.write(Buffer.alloc(1000));
  await eventually("the innocent one goes on", () => innocent.bytesOf(1) === before + 1000);
  stalled.socket.destroy();
  await pair.idle();
});
