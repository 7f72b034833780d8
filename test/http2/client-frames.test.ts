/** The client's side of a connection under answers that make no sense, and under cuts at any byte. */
import fc from "fast-check";
import t, { type Test } from "tap";
import { ProxyError } from "../../src/errors/proxy-error.js";
import type { RequestContext } from "../../src/stack/request-context.js";
import type { BodySource } from "../../src/traffic/body.js";
import type { ResponseHead } from "../../src/traffic/message.js";
import {
  block,
  clientPreface,
  data,
  endStream,
  frame,
  frameFlag,
  frameType,
  goaway,
  headers,
  MemorySocket,
  ping,
  rst,
  settings,
  settingsAck,
  windowUpdate,
} from "../support/http2-frames.js";
import { Http2Relay } from "../support/http2-relay.js";
import { ScriptedSink, ScriptedSource } from "../support/scripted-body.js";
import { RecordedReply, scriptedRequest } from "../support/scripted-service.js";

const over = new ProxyError("client_gone", "test is over");
const turn = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve));

/** A reply that takes its body at once. */
class TakingReply extends RecordedReply {
  readonly sink = new ScriptedSink();

  override head(head: ResponseHead, body?: BodySource | null): void {
    super.head(head, body);
    body?.attach(this.sink);
  }
}

interface Sent {
  readonly request: RequestContext;
  readonly reply: TakingReply;
  readonly source: ScriptedSource | undefined;
}

/** Streams 1 to 11: two plain requests, two uploads, a HEAD; then a tunnel, which waits for the peer's settings. */
function requests(): Sent[] {
  const make = (method: string, source?: ScriptedSource, upgrade = ""): Sent => {
    const request = scriptedRequest({ method, ...(source === undefined ? {} : { body: source }) });
    request.head.upgrade = upgrade;
    return { request, reply: new TakingReply(), source };
  };
  const tunnel = make("GET", new ScriptedSource(-1, null), "websocket");
  const uploads = [make("POST", new ScriptedSource()), make("PUT", new ScriptedSource(5, null))];
  return [make("GET"), ...uploads, make("HEAD"), make("GET"), tunnel];
}

/** Plays `answers` to the requests, in pieces that `sizes` gives. */
async function play(
  answers: Buffer,
  sizes: () => number,
): Promise<{ readonly sent: readonly Sent[]; readonly activeStreams: number }> {
  const teardowns: (() => void)[] = [];
  const test = { teardown: (fn: () => void) => void teardowns.push(fn) } as unknown as Test;
  const socket = new MemorySocket(clientPreface.length);
  const relay = await Http2Relay.open(test, { upstreamPort: 0, dial: () => socket.asSocket });
  const connection = relay.client();
  const sent = requests();
  for (const { request, reply } of sent) connection.send(request, reply);
  for (const { source } of sent) source?.arrive(Buffer.from("hello"), "end");
  for (let from = 0; from < answers.length;) {
    const size = sizes();
    socket.push(answers.subarray(from, from + size));
    from += size;
    await turn();
  }
  connection.destroy(over);
  await turn();
  for (const teardown of teardowns) teardown();
  return { sent, activeStreams: connection.activeStreams };
}

const ok = { ":status": "200" };
const someHeads = [
  ok,
  { ...ok, "content-length": "3" },
  { ":status": "103" },
  { ":status": "204" },
  { ":status": "413" },
  { "grpc-status": "0" },
  { ...ok, Upper: "1" },
];
const streamId = fc.nat(6).map((n) => 2 * n + 1);
const flagsOf = (isEnd: boolean): number => (isEnd ? endStream : 0);
const anyAnswer: fc.Arbitrary<Buffer> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc
      .tuple(streamId, fc.constantFrom(...someHeads), fc.boolean())
      .map(([id, fields, isEnd]) => headers(id, fields, flagsOf(isEnd))),
  },
  {
    weight: 5,
    arbitrary: fc
      .tuple(streamId, fc.nat(3000), fc.boolean())
      .map(([id, size, isEnd]) => data(id, Buffer.alloc(size), flagsOf(isEnd))),
  },
  fc.tuple(streamId, fc.nat(14)).map(([id, code]) => rst(id, code)),
  fc.tuple(fc.nat(12), fc.nat(70_000)).map(([id, size]) => windowUpdate(id, size)),
  fc.tuple(fc.nat(12), fc.constantFrom(0, 2)).map(([id, code]) => goaway(id, code)),
  fc.constantFrom(
    settings([8, 1]),
    settings([3, 0]),
    settings([4, 1]),
    settings([4, 70_000]),
    settings([1, 0]),
  ),
  fc.constantFrom(ping(), ping(frameFlag.ack), settingsAck),
  fc
    .tuple(fc.nat(12), fc.nat(255), fc.nat(12), fc.uint8Array({ maxLength: 40 }))
    .map(([type, flags, id, bytes]) => frame(type, flags, id, Buffer.from(bytes))),
);

t.test("no answers throw, leave a call or an upload open, or break the contract of replies", async (t) => {
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(settings(), settings([8, 1]), settings([4, 2], [8, 1])),
      fc.array(anyAnswer, { maxLength: 25 }),
      fc.infiniteStream(fc.integer({ min: 1, max: 4000 })),
      async (first, answers, sizes) => {
        const bytes = Buffer.concat([first, ...answers]);
        const { sent, activeStreams } = await play(bytes, () => sizes.next().value as number);
        return activeStreams === 0 && sent.every(isOver);
      },
    ),
    { numRuns: 300 },
  );
  t.pass("held");
});

/** Its call ended once; what it was sending was taken to its end, or let go of. */
function isOver({ reply, source }: Sent): boolean {
  return reply.ends === 1 && (source === undefined || source.isDone || source.cancelledWith !== null);
}

t.test("answers that are cut at any byte", async (t) => {
  const answers = Buffer.concat([
    settings([8, 1]),
    headers(1, { ":status": "103", link: "</a>" }),
    headers(1, { ...ok, "x-a": "1" }),
    frame(frameType.data, frameFlag.padded, 1, Buffer.from([2, 65, 66, 67, 0, 0])),
    frame(frameType.headers, endStream, 3, block(ok).subarray(0, 4)),
    frame(frameType.continuation, frameFlag.endHeaders, 3, block(ok).subarray(4)),
    headers(5, ok),
    ping(),
    data(5, "hi", endStream),
    headers(7, { ...ok, "content-length": "99" }, endStream),
    headers(1, { "grpc-status": "0" }, endStream),
    rst(9, 7),
    headers(11, ok),
    data(11, "welcome"),
    windowUpdate(11, 9),
    data(11, "", endStream),
  ]);
  const outcomeOf = async (cuts: readonly number[]): Promise<readonly string[]> => {
    const ends = [...cuts, answers.length];
    let at = 0;
    const { sent } = await play(answers, () => {
      const size = (ends.shift() as number) - at;
      at += size;
      return size;
    });
    return sent.map(({ reply }) => {
      const { sink, outcome, informationals } = reply;
      return [...informationals, outcome, sink.bytes.toString(), sink.trailers?.join() ?? ""]
        .join(" ")
        .trim();
    });
  };
  const whole = await outcomeOf([]);
  t.strictSame(whole, [
    "103 200 ABC grpc-status,0",
    "200",
    "200 hi",
    "200",
    "upstream_unprocessed",
    "101 welcome",
  ]);
  for (let cut = 1; cut < answers.length; cut++) {
    const got = await outcomeOf([cut]);
    if (got.join() !== whole.join()) t.strictSame(got, whole, `cut at ${cut}`);
  }
  t.strictSame(
    await outcomeOf(Array.from({ length: answers.length - 1 }, (_, i) => i + 1)),
    whole,
    "byte by byte",
  );
});
