/** Whole connections of either protocol, as server and as client, under conversations that go wrong on both sides. */
import { clientPreface, frameType } from "../../src/http2/frame.js";
import { readRequests, readResponses } from "../support/http1-messages.js";
import * as h2 from "../support/http2-frames.js";
import { hashOf, promise, promiseEqual, sizeClass, type FuzzTarget } from "./fuzz-target.js";
import { mutateScript, readScript, writeScript, type Act } from "./relay-script.js";
import { Relay, turn, type RelayKind, type UpstreamLink } from "./relay.js";

const maxBytes = 8000;
/** The longest local reply to the shortest request, many times over. */
const maxOutputBytes = 1024 * 1024;

const latin1 = (text: string): Buffer => Buffer.from(text, "latin1");
const act = (kind: string, bytes: Buffer | string = ""): Act => ({
  kind,
  bytes: typeof bytes === "string" ? latin1(bytes) : bytes,
});

/** What a client says, in three acts or less. */
const clientSides: Readonly<Record<"1" | "2", readonly (readonly Buffer[])[]>> = {
  "1": [
    [
      "GET /a HTTP/1.1\r\nHost: a.test\r\n\r\n",
      "GET /b HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n",
    ],
    [
      "POST /a HTTP/1.1\r\nHost: a.test\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n",
      "hello",
      "there",
    ],
    [
      "POST /a HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\nTE: trailers\r\n\r\n5\r\nhello\r\n",
      "0\r\nX-Sum: 1\r\n\r\nHEAD /b HTTP/1.1\r\nHost: a.test\r\n\r\n",
    ],
    [
      "GET /chat HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" +
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
      "\x81\x05hello",
      "\x88\x00",
    ],
  ].map((texts) => texts.map(latin1)),
  "2": [
    [
      Buffer.concat([h2.hello, h2.headers(1, h2.get, h2.endStream)]),
      Buffer.concat([h2.settingsAck, h2.headers(3, h2.get, h2.endStream), h2.ping()]),
    ],
    [
      Buffer.concat([h2.hello, h2.headers(1, h2.post), h2.data(1, "hello")]),
      Buffer.concat([h2.data(1, "there"), h2.headers(1, { "x-sum": "1" }, h2.endStream)]),
      Buffer.concat([
        h2.headers(3, { ...h2.post, "content-length": "5" }),
        h2.data(3, "hello", h2.endStream),
        h2.rst(3, 8),
      ]),
    ],
    [
      Buffer.concat([
        h2.hello,
        h2.headers(1, { ...h2.get, ":method": "CONNECT", ":protocol": "websocket" }),
        h2.windowUpdate(0, 1000),
      ]),
      h2.data(1, "hello"),
      Buffer.concat([h2.data(1, "", h2.endStream), h2.goaway(0)]),
    ],
  ],
};

/** What an upstream answers to such a client. */
const upstreamSides: Readonly<Record<"1" | "2", readonly (readonly Buffer[])[]>> = {
  "1": [
    ["HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "HTTP/1.1 204 No Content\r\n\r\n"],
    [
      "HTTP/1.1 100 Continue\r\n\r\n",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n",
    ],
    ["HTTP/1.1 413 No\r\nConnection: close\r\n\r\nuntil the end"],
    [
      "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n" +
        "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n\x81\x02hi",
      "\x81\x05hello",
    ],
  ].map((texts) => texts.map(latin1)),
  "2": [
    [
      Buffer.concat([
        h2.settings([8, 1]),
        h2.settingsAck,
        h2.headers(1, { ":status": "200" }),
        h2.data(1, "hello", 1),
      ]),
      Buffer.concat([h2.headers(3, { ":status": "204" }, h2.endStream), h2.ping()]),
    ],
    [
      Buffer.concat([h2.settings([3, 1], [4, 10]), h2.headers(1, { ":status": "103" })]),
      Buffer.concat([
        h2.headers(1, { ":status": "200" }),
        h2.data(1, "hi"),
        h2.headers(1, { "grpc-status": "0" }, 1),
      ]),
    ],
    [
      Buffer.concat([
        h2.settings([8, 1]),
        h2.headers(1, { ":status": "200" }),
        h2.data(1, "hi"),
        h2.windowUpdate(1, 9),
      ]),
      h2.goaway(1),
    ],
  ],
};

function scripts({ client, upstream }: RelayKind): Buffer[] {
  return clientSides[client].flatMap((said) =>
    upstreamSides[upstream].map((answered) => {
      const script: Act[] = [];
      for (let i = 0; i < Math.max(said.length, answered.length); i++) {
        if (said[i] !== undefined) script.push(act("c", said[i]));
        if (answered[i] !== undefined) script.push(act("u", answered[i]));
      }
      return writeScript([...script, act(script.length % 2 === 0 ? "U" : "t"), act("C")]);
    }),
  );
}

async function play(relay: Relay, script: readonly Act[]): Promise<void> {
  for (const { kind, bytes } of script) {
    const socket = "cCR".includes(kind) ? relay.client : relay.upstream;
    if (kind === "t") await relay.pass(100);
    else if (kind === "c" || kind === "u") socket?.arrive(Buffer.from(bytes));
    else if (kind === "C" || kind === "U") socket?.finish();
    else socket?.reset();
    await turn();
  }
  await relay.settle();
}

/** Whatever came in: what goes out is right HTTP, and no more requests than there were. */
function checkOutput(relay: Relay, kind: RelayKind): void {
  const size = relay.client.size + relay.links.reduce((sum, { socket }) => sum + socket.size, 0);
  promise(size <= maxOutputBytes, () => `${size} bytes were written`);
  const isPlain = relay.requests.every(({ head }) => head.method !== "HEAD" && head.upgrade === "");
  const { bytes } = relay.client.written;
  if (kind.client === "2") checkFrames(bytes, 0);
  else if (isPlain) {
    const { error } = readResponses([bytes]);
    promise(error === undefined, () => `the client got ${error?.message}: ${bytes.toString("latin1")}`);
  }
  for (const link of relay.links) {
    if (kind.upstream === "2") checkFrames(link.socket.written.bytes, clientPreface.length);
    else if (isPlain) checkRequests(link);
  }
}

function checkFrames(bytes: Buffer, skip: number): void {
  const cutter = new h2.FrameCutter(skip);
  cutter.push(bytes);
  for (const { type, payload } of cutter.frames) {
    promise(
      type <= frameType.continuation && type !== frameType.pushPromise,
      () => `a frame of type ${type}`,
    );
    promise(payload.length <= 16_384, () => `a frame of ${payload.length} bytes`);
  }
}

function checkRequests({ socket, requests }: UpstreamLink): void {
  const { bytes } = socket.written;
  const { messages, error } = readRequests([bytes]);
  promise(error === undefined, () => `the upstream got ${error?.message}: ${bytes.toString("latin1")}`);
  promise(
    messages.length <= requests,
    () => `${messages.length} requests of ${requests}: ${bytes.toString("latin1")}`,
  );
}

/** The kinds of what the client got, each once. */
function seenByClient(relay: Relay, kind: RelayKind): string {
  const { bytes } = relay.client.written;
  if (kind.client === "1")
    return (bytes.toString("latin1").match(/HTTP\/1\.1 \d+/g) ?? []).slice(0, 3).join();
  const cutter = new h2.FrameCutter();
  cutter.push(bytes);
  const words = cutter.frames.map(({ type, flags, payload }) => {
    if (type === frameType.rstStream) return `r${payload.readUInt32BE(0)}`;
    return type === frameType.goaway ? `g${payload.readUInt32BE(4)}` : `${type}.${flags}`;
  });
  return [...new Set(words)].sort().join();
}

function relayTarget(client: "1" | "2", upstream: "1" | "2"): FuzzTarget {
  const kind: RelayKind = { client, upstream };
  const words = [
    "\r\n",
    "\r\n\r\n",
    "Content-Length: 5\r\n",
    "Transfer-Encoding: chunked\r\n",
    "0\r\n\r\n",
    "HTTP/1.1 ",
  ]
    .concat([
      "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
      "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
      "HEAD",
      "Connection: close\r\n",
    ])
    .map(latin1);
  const isFrames = { c: client === "2", u: upstream === "2" };
  return {
    ...{ name: `relay-${client}-${upstream}`, weight: 3, maxBytes, words },
    seeds: () => scripts(kind),
    mutate: (input, random) => mutateScript(input, { random, words, maxBytes }, isFrames),
    async run(input) {
      const relay = new Relay(kind, hashOf(input) % 3 === 0);
      await play(relay, readScript(input));
      checkOutput(relay, kind);
      promiseEqual(relay.outcomes.includes("pending"), false, "every call ended");
      const ends = [...new Set(relay.outcomes)].sort().join();
      const told = [...relay.limits].sort().join();
      return `${sizeClass(relay.outcomes.length)} ${ends} | ${told} | ${seenByClient(relay, kind)}`;
    },
  };
}

export const relayTargets: readonly FuzzTarget[] = [
  relayTarget("1", "1"),
  relayTarget("2", "2"),
  relayTarget("1", "2"),
  relayTarget("2", "1"),
];
