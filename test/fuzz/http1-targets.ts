/** The HTTP/1 codec without sockets: however bytes are cut, they mean the same, and what was read can be written. */
import { ProxyError } from "../../src/errors/proxy-error.js";
import { ChunkedDecoder } from "../../src/http1/chunked-decoder.js";
import { http1Limits } from "../../src/http1/limits.js";
import { parseRequestHead } from "../../src/http1/request-head.js";
import { parseResponseHead } from "../../src/http1/response-head.js";
import { chunkHead, lastChunk, requestHeadText, responseHeadText } from "../support/head-text.js";
import type { RequestHead, ResponseHead } from "../../src/traffic/message.js";
import { cut, readRequests, readResponses, type Reading } from "../support/http1-messages.js";
import { seeded } from "../support/seeded-random.js";
import {
  cutsOf,
  hashOf,
  outcomeOf,
  promise,
  promiseEqual,
  sizeClass,
  type FuzzTarget,
} from "./fuzz-target.js";

const fieldWords = [
  ...[
    "\r\n",
    "\n",
    "\r",
    "\r\n\r\n",
    ": ",
    " HTTP/1.1\r\n",
    " HTTP/1.0\r\n",
    "Host: a.test\r\n",
    "\t",
    "\0",
    "\x80",
  ],
  ...[
    "Content-Length: 5\r\n",
    "Content-Length: 0005\r\n",
    "Transfer-Encoding: chunked\r\n",
    "5\r\nhello\r\n0\r\n\r\n",
  ],
  ...["Connection: close\r\n", "Connection: upgrade, x-a\r\n", "Upgrade: websocket\r\n", "TE: trailers\r\n"],
  ...[
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    "Sec-WebSocket-Version: 13\r\n",
    "Expect: 100-continue\r\n",
  ],
  ...[
    "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "CONNECT a:1",
    "OPTIONS *",
    "http://a.test/",
    "chunked",
    "x".repeat(300),
  ],
  ...[
    "HTTP/1.1 200 OK\r\n",
    "HTTP/1.1 101 \r\n",
    "HTTP/1.1 304",
    "HTTP/1.0 204 ",
    "Keep-Alive: timeout=5\r\n",
  ],
  ...[
    "\r\n folded",
    "Cookie: a=b\r\n",
    "Trailer: x\r\n",
    "x-remora-case: t\r\n",
    ';a="b\\"c"',
    "0\r\nX: y\r\n\r\n",
  ],
].map((text) => Buffer.from(text, "latin1"));

/** What a reading says, without its error's text: cut elsewhere, another fault may be met first. */
function resultOf(reading: Reading<unknown>): string {
  const isBad = reading.error !== undefined;
  // The last message before a fault may have been given out in part.
  const whole = reading.messages.filter(({ isComplete }) => isComplete || !isBad);
  return JSON.stringify([isBad, whole.map((one) => ({ ...one, body: one.body.toString("latin1") }))]);
}

function readBothWays<Parsed>(
  input: Buffer,
  read: (slices: readonly Buffer[]) => Reading<Parsed>,
): Reading<Parsed> {
  const whole = read([input]);
  const slices = cut(input, cutsOf(input, seeded(hashOf(input))));
  const inPieces = read(slices);
  // Malformed and too large: which is met first depends on the cuts.
  promiseEqual(resultOf(inPieces), resultOf(whole), `cut into ${slices.map(({ length }) => length).join()}`);
  const given = whole.messages.reduce((sum, { body }) => sum + body.length, 0);
  promise(given <= input.length, () => "more body than bytes");
  return whole;
}

function outcome(reading: Reading<{ readonly framing: { readonly kind: string } }>, more: string): string {
  const { messages, error } = reading;
  const kinds = messages.slice(0, 3).map(({ parsed, isComplete }) => `${parsed.framing.kind}${isComplete}`);
  return `${kinds.join()} ${error === undefined ? "" : outcomeOf(error.message)} ${more}`;
}

export const http1RequestTarget: FuzzTarget = {
  ...{ name: "http1-request", weight: 1.5, maxBytes: 8000, words: fieldWords },
  run(input) {
    const reading = readBothWays(input, (slices) => readRequests(slices));
    for (const { parsed } of reading.messages) {
      const isChunked = parsed.framing.kind === "chunked";
      // HTTP/1.0 may leave Host out: the connection puts its own address there.
      if (parsed.head.authority === "") parsed.head.authority = "a.test";
      const text = requestHeadText(parsed.head, isChunked, !parsed.keepAlive, parsed.head.upgrade);
      const again = parseRequestHead(text, http1Limits);
      promiseEqual(comparable(again.head), comparable(parsed.head), "a written request is read back");
      promiseEqual(again.framing, parsed.framing, "a written request has the same body");
    }
    const first = reading.messages[0]?.parsed;
    const notes = [first?.head.upgrade, first?.keepAlive, first?.expectsContinue, first?.head.version];
    return outcome(reading, `${notes.join()} ${sizeClass((first?.head.headers.length ?? 0) / 2)}`);
  },
};

function comparable(head: RequestHead): unknown {
  const { headers, ...rest } = head;
  const names = headers.map((text, i) => (i % 2 === 0 ? text.toLowerCase() : text));
  // With chunks a Content-Length is left out, and a Host is added to a 1.0 request without one.
  return { ...rest, version: "1.1", headers: without(names, ["content-length", "host"]) };
}

function without(headers: readonly string[], names: readonly string[]): string[] {
  return headers.filter((_, i) => !names.includes(headers[i - (i % 2)] as string));
}

export const http1ResponseTarget: FuzzTarget = {
  ...{ name: "http1-response", weight: 1.5, maxBytes: 8000, words: fieldWords },
  run(input) {
    const method = hashOf(input) % 5 === 0 ? "HEAD" : "GET";
    const reading = readBothWays(input, (slices) => readResponses(slices, method));
    for (const { parsed } of reading.messages) {
      const chunked = parsed.framing.kind === "chunked" || parsed.framing.kind === "until-close";
      const options = { chunked, connection: "" as const, upgrade: parsed.upgrade };
      const text = responseHeadText(parsed.head, options);
      const again = parseResponseHead(text, method, http1Limits);
      promiseEqual(plain(again.head), plain(parsed.head), "a written response is read back");
      if (!chunked) promiseEqual(again.framing, parsed.framing, "a written response has the same body");
    }
    const first = reading.messages[0]?.parsed;
    const status = first === undefined ? 0 : Math.floor(first.head.status / 100);
    return outcome(
      reading,
      `${status} ${first?.keepAlive} ${(first?.keepAliveTimeoutMs ?? -1) >= 0} ${first?.upgrade}`,
    );
  },
};

function plain({ status, headers }: ResponseHead): unknown {
  const names = headers.map((text, i) => (i % 2 === 0 ? text.toLowerCase() : text));
  return { status, headers: without(names, ["content-length"]) };
}

export const chunkedTarget: FuzzTarget = {
  ...{ name: "http1-chunked", weight: 1, maxBytes: 4000, words: fieldWords },
  run(input) {
    const random = seeded(hashOf(input));
    const whole = decode([input]);
    const slices = cut(input, cutsOf(input, random));
    const inPieces = decode(slices);
    promiseEqual(inPieces.isBad, whole.isBad, "the verdict does not depend on the cuts");
    promiseEqual(inPieces.body, whole.body, "the body does not depend on the cuts");
    promiseEqual(inPieces.trailers, whole.trailers, "the trailers do not depend on the cuts");
    promiseEqual(inPieces.used, whole.used, "the end does not depend on the cuts");
    promise(whole.body.length <= input.length, () => "more body than bytes");

    const chunks = cut(input, cutsOf(input, random));
    const trailers = random() < 0.3 ? ["x-checksum", String(input.length)] : null;
    const coded = [
      ...chunks.map((chunk) => Buffer.concat([latin1(chunkHead(chunk.length)), chunk, latin1("\r\n")])),
    ];
    const text = Buffer.concat([...coded, latin1(lastChunk(trailers)), latin1("next")]);
    const back = decode(cut(text, cutsOf(text, random)));
    promiseEqual(
      [back.isBad, back.body, back.trailers, back.used],
      [false, input.toString("latin1"), trailers, text.length - 4],
      "what was written in chunks is read",
    );
    return `${whole.error} ${whole.used >= 0} ${sizeClass(whole.body.length)} ${whole.trailers?.length ?? 0}`;
  },
};

const latin1 = (text: string): Buffer => Buffer.from(text, "latin1");

interface Decoded {
  readonly body: string;
  readonly trailers: readonly string[] | null;
  readonly isBad: boolean;
  readonly error: string;
  /** Where the body ended; -1 = it did not. */
  readonly used: number;
}

function decode(slices: readonly Buffer[]): Decoded {
  const decoder = new ChunkedDecoder(http1Limits, "request");
  const parts: Buffer[] = [];
  let [used, passed] = [-1, 0];
  let error = "";
  try {
    for (const slice of slices) {
      const end = decoder.feed(slice, 0, (part) => {
        promise(part.length > 0, () => "an empty slice was handed out");
        parts.push(part);
      });
      if (decoder.isDone) {
        used = passed + end;
        break;
      }
      promise(end === slice.length, () => "bytes were left over");
      passed += slice.length;
    }
  } catch (thrown: unknown) {
    if (!(thrown instanceof ProxyError)) throw thrown;
    error = outcomeOf(thrown.message);
  }
  const body = Buffer.concat(parts).toString("latin1");
  return { body, trailers: decoder.trailers, isBad: error !== "", error, used };
}
