/** Chunked coding, serializer, and properties of the whole codec under fragmentation and random bytes. */
import fc from "fast-check";
import t from "tap";
import type { ErrorCode } from "../../src/errors/error-table.js";
import { ProxyError } from "../../src/errors/proxy-error.js";
import { ChunkedDecoder } from "../../src/http1/chunked-decoder.js";
import { http1Limits } from "../../src/http1/limits.js";
import { parseRequestHead } from "../../src/http1/request-head.js";
import { parseResponseHead } from "../../src/http1/response-head.js";
import { chunkHead, lastChunk, requestHeadText, responseHeadText } from "../support/head-text.js";
import type { RequestHead, ResponseHead } from "../../src/traffic/message.js";
import { cut, readRequests, readResponses, type Reading } from "../support/http1-messages.js";

interface Decoded {
  readonly data: string;
  readonly trailers: readonly string[] | null;
  readonly isDone: boolean;
  /** Bytes after the body. */
  readonly rest: string;
  readonly code: ErrorCode | undefined;
}

function decode(slices: readonly Buffer[], side: "request" | "response" = "request"): Decoded {
  const decoder = new ChunkedDecoder(http1Limits, side);
  const parts: Buffer[] = [];
  let rest = "";
  let code: ErrorCode | undefined;
  try {
    for (const slice of slices) {
      const end = decoder.feed(slice, 0, (data) => {
        if (data.length === 0) throw new Error("empty run of data");
        parts.push(data);
      });
      rest += slice.toString("latin1", end);
    }
  } catch (error: unknown) {
    if (!(error instanceof ProxyError)) throw error;
    code = error.code;
  }
  return {
    data: Buffer.concat(parts).toString("latin1"),
    trailers: decoder.trailers,
    isDone: decoder.isDone,
    rest: code === undefined ? rest : "",
    code,
  };
}

const latin1 = (text: string): Buffer => Buffer.from(text, "latin1");
const bytewise = (text: string): Buffer[] => [...latin1(text)].map((byte) => Buffer.of(byte));

t.test("chunked bodies that are complete", async (t) => {
  const cases: readonly (readonly [
    text: string,
    data: string,
    trailers: readonly string[] | null,
    rest: string,
  ])[] = [
    ["0\r\n\r\n", "", null, ""],
    ["5\r\nhello\r\n0\r\n\r\nGET /", "hello", null, "GET /"],
    ["5\r\nhello\r\n06\r\n world\r\n000\r\n\r\n", "hello world", null, ""],
    ["A\r\n0123456789\r\na\r\n\r\n\r\n\r\n\r\n\r\n\r\n0\r\n\r\n", "0123456789\r\n\r\n\r\n\r\n\r\n", null, ""],
    ['5;a;b=c;d="e;\\"\\\\ f"\r\nhello\r\n0;x\r\n\r\n', "hello", null, ""],
    ["0\r\nX-Sum: 1\r\nGrpc-Status:0\r\n\r\nrest", "", ["X-Sum", "1", "Grpc-Status", "0"], "rest"],
    ["0\r\nHost: x\r\nX: y\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", "", ["X", "y"], ""],
    ["0\r\nAuthorization: x\r\n\r\n", "", null, ""],
    ["000000000000000a\r\n0123456789\r\n0\r\n\r\n", "0123456789", null, ""],
  ];
  for (const [text, data, trailers, rest] of cases) {
    for (const slices of [[latin1(text)], bytewise(text)]) {
      t.strictSame(
        decode(slices),
        { data, trailers, isDone: true, rest, code: undefined },
        JSON.stringify(text),
      );
    }
  }
});

t.test("chunked bodies that parsers disagree about are refused", async (t) => {
  const { maxChunkExtensionBytes, maxTrailerBytes } = http1Limits;
  const sizes = [
    "",
    " 5",
    "5 ",
    "5\t",
    "+5",
    "-5",
    "0x5",
    "5_0",
    "x",
    "5,5",
    "\u00b2",
    "11111111111111111",
    "fffffffffffffff",
  ];
  const extensions = [
    ";",
    "; a",
    ";a b",
    " ;a",
    ";a=",
    ";=b",
    ";a[",
    ';a="b',
    ';a="b"c',
    ";\n",
    ";a\n",
    ";a\r;b",
    ';a="\r\n"',
    ";;a",
  ];
  const texts = [
    ...sizes.map((size) => `${size}\r\nhello\r\n0\r\n\r\n`),
    ...extensions.map((extension) => `5${extension}\r\nhello\r\n0\r\n\r\n`),
    ...[
      "5\nhello\r\n0\r\n\r\n",
      "5\r\nhello0\r\n\r\n",
      "5\r\nhello\n0\r\n\r\n",
      "5\r\nhello\rX",
      "5\r\nhello!!\r\n0\r\n\r\n",
    ],
    ...[
      "5\r\nhello\r\n\r\n",
      "5\rXhello",
      "0\r\n\rX",
      "0\r\n\n",
      "0\r\n X: y\r\n\r\n",
      "0\r\nX\r\n\r\n",
      "0\r\nX: a\n\r\n\r\n",
    ],
    `5;${"a".repeat(maxChunkExtensionBytes)}\r\n`,
    `1;aaaaaa\r\nx\r\n`.repeat(maxChunkExtensionBytes / 7 + 1),
  ];
  for (const text of texts) {
    for (const slices of [[latin1(text)], bytewise(text)]) {
      const { code, isDone } = decode(slices);
      t.strictSame([code, isDone], ["malformed_request", false], JSON.stringify(text.slice(0, 40)));
    }
  }
  t.equal(decode([latin1("x")], "response").code, "upstream_protocol_error");
  const huge = latin1(`0\r\nX: ${"y".repeat(maxTrailerBytes)}\r\n\r\n`);
  t.equal(decode([huge]).code, "request_headers_too_large");
  t.equal(decode([huge], "response").code, "upstream_headers_too_large");
});

t.test("a decoder hands out slices without copying and serves the next message", async (t) => {
  const decoder = new ChunkedDecoder(http1Limits, "request");
  const wire = latin1("5\r\nhello\r\n0\r\nX: y\r\n\r\n");
  const seen: Buffer[] = [];
  decoder.feed(wire, 0, (slice) => seen.push(slice));
  t.equal(seen[0]?.buffer, wire.buffer);
  t.strictSame(decoder.trailers, ["X", "y"]);
  t.equal(
    decoder.feed(wire, 3, () => t.fail("done")),
    3,
  );
  decoder.reset();
  t.strictSame([decoder.isDone, decoder.trailers], [false, null]);
  t.equal(
    decoder.feed(latin1("..0\r\n\r\n.."), 2, () => t.fail("no data")),
    7,
  );
  t.ok(decoder.isDone);
});

const requestHead = (headers: string[], target = "/p?q", authority = "a"): RequestHead => ({
  method: "POST",
  target,
  authority,
  version: "1.1",
  headers,
  upgrade: "",
});
const responseHead = (headers: string[], status = 200, reason = ""): ResponseHead => ({
  status,
  reason,
  version: "2",
  headers,
});

t.test("heads are written with what concerns this connection at the end", async (t) => {
  const start = "POST /p?q HTTP/1.1\r\n";
  const host = ["hOst", "a"];
  const line = "hOst: a\r\n";
  t.equal(requestHeadText(requestHead([...host, "X", ""]), false, false), `${start}${line}X: \r\n\r\n`);
  t.equal(requestHeadText(requestHead([]), false, true), `${start}Host: a\r\nConnection: close\r\n\r\n`);
  t.equal(
    requestHeadText(requestHead([...host, "content-LENGTH", "5", "te", "trailers"]), true, true),
    `${start}${line}te: trailers\r\nTransfer-Encoding: chunked\r\nConnection: close, TE\r\n\r\n`,
    "never both framings",
  );
  t.equal(
    requestHeadText(requestHead(host), false, false, "websocket"),
    `${start}${line}Upgrade: websocket\r\nConnection: upgrade\r\n\r\n`,
  );
  const plain = { chunked: false, connection: "", upgrade: "" } as const;
  t.equal(responseHeadText(responseHead(["A", "b"]), plain), "HTTP/1.1 200 OK\r\nA: b\r\n\r\n");
  t.equal(responseHeadText(responseHead([], 499, "Why Not"), plain), "HTTP/1.1 499 Why Not\r\n\r\n");
  t.equal(responseHeadText(responseHead([], 499), plain), "HTTP/1.1 499 \r\n\r\n");
  t.equal(
    responseHeadText(responseHead(["Content-Length", "5"]), { ...plain, connection: "keep-alive" }),
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\n",
  );
  t.equal(
    responseHeadText(responseHead([], 101), { ...plain, upgrade: "websocket" }),
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
  );
  t.equal(lastChunk(null), "0\r\n\r\n");
  t.equal(lastChunk(["A", "b"]), "0\r\nA: b\r\n\r\n");
  t.equal(chunkHead(255), "ff\r\n");
});

t.test("nothing that would make other lines is written", async (t) => {
  const plain = { chunked: false, connection: "close", upgrade: "" } as const;
  for (const evil of [
    "a\r\nX: y",
    "a\r\n\r\nGET / HTTP/1.1",
    "a\rb",
    "a\nb",
    "\n",
    "a\0b",
    "\x7f",
    "\u560a",
    "\u0100",
  ]) {
    const writes: (() => string)[] = [
      () => requestHeadText(requestHead(["Host", "a", "X", evil]), false, false),
      () => requestHeadText(requestHead([`X${evil}`, "y"]), false, false),
      () => requestHeadText(requestHead(["Host", "a"], `/${evil}`), false, false),
      () => requestHeadText(requestHead([], "/", evil), false, false),
      () => requestHeadText(requestHead(["Host", "a"]), false, false, evil),
      () => responseHeadText(responseHead(["X", evil]), plain),
      () => responseHeadText(responseHead([], 200, evil), plain),
      () => lastChunk(["X", evil]),
    ];
    for (const write of writes) t.throws(write, { code: "internal" }, JSON.stringify(evil));
  }
});

const tokenCharacters = [..."!#$%&'*+-.^_`|~09azAZ"];
const valueCharacters = [...'\t !"#,:;=@[]{}~azAZ09\u0080\u00e9\u00ff'];
const text = (characters: readonly string[], minLength: number) =>
  fc.array(fc.constantFrom(...characters), { minLength, maxLength: 20 }).map((list) => list.join(""));
/** End-to-end fields whose names mean nothing to the codec. */
const fields = fc
  .array(fc.tuple(text(tokenCharacters, 1), text(valueCharacters, 0)), { maxLength: 20 })
  .map((pairs) => pairs.flatMap(([name, value]) => [`x-${name}`, value.replace(/^[ \t]+|[ \t]+$/g, "")]));
const targets = text([..."/az09?&=%.;~|\"'<>\\"], 0).map((rest) => `/${rest}`);

t.test("property: what is written is read back as the same head", async () => {
  fc.assert(
    fc.property(targets, fields, fc.boolean(), fc.boolean(), (target, more, chunked, close) => {
      const head = requestHead(["Host", "a.b:1", ...more], target, "a.b:1");
      const parsed = parseRequestHead(requestHeadText(head, chunked, close), http1Limits);
      return (
        JSON.stringify(parsed.head) === JSON.stringify(head) &&
        parsed.framing.kind === (chunked ? "chunked" : "none") &&
        parsed.keepAlive === !close
      );
    }),
  );
  fc.assert(
    fc.property(
      fc.integer({ min: 200, max: 599 }),
      text(valueCharacters, 1),
      fields,
      (status, reason, headers) => {
        const head: ResponseHead = { status, reason, version: "1.1", headers };
        const options = { chunked: true, connection: "", upgrade: "" } as const;
        const parsed = parseResponseHead(responseHeadText(head, options), "GET", http1Limits);
        return JSON.stringify(parsed.head) === JSON.stringify(head);
      },
    ),
  );
});

t.test("property: chunks come back whatever the slices", async () => {
  const bodies = fc.array(fc.uint8Array({ minLength: 1, maxLength: 50 }), { maxLength: 10 });
  fc.assert(
    fc.property(bodies, fields, fc.array(fc.nat(2000), { maxLength: 20 }), (chunks, trailers, offsets) => {
      const wire = Buffer.concat([
        ...chunks.flatMap((chunk) => [latin1(chunkHead(chunk.length)), chunk, latin1("\r\n")]),
        latin1(`${lastChunk(trailers.length > 0 ? trailers : null)}next`),
      ]);
      const got = decode(cut(wire, offsets));
      return (
        got.code === undefined &&
        got.isDone &&
        got.data === Buffer.concat(chunks).toString("latin1") &&
        JSON.stringify(got.trailers ?? []) === JSON.stringify(trailers) &&
        got.rest === "next"
      );
    }),
  );
});

function summary(reading: Reading<object>): string {
  return JSON.stringify(reading, (_, value: unknown) =>
    value instanceof ProxyError ? value.row.side : value,
  );
}

const conversation = latin1(
  "\r\nPOST /a HTTP/1.1\r\nHost: A\r\nTransfer-Encoding: chunked\r\nConnection: x-y\r\nX-Y: z\r\n\r\n" +
    '5;a="b"\r\nhello\r\nb\r\n world\r\n\r\n!\r\n0\r\nX-Sum: 1\r\nHost: no\r\n\r\n' +
    "PUT http://b/c HTTP/1.1\r\nHost: b\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n\r\n\r\n" +
    "\r\nGET / HTTP/1.0\r\nAccept: */*\r\n\r\nHEAD /last HTTP/1.1\r\nHost: c\r\n\r\n",
);

t.test("a conversation cut at every byte reads the same", async (t) => {
  const whole = readRequests([conversation]);
  t.equal(whole.error, undefined);
  t.strictSame(
    whole.messages.map(({ parsed, body, isComplete }) => [parsed.head.target, body.toString(), isComplete]),
    [
      ["/a", "hello world\r\n\r\n!", true],
      ["/c", "\r\n\r\n", true],
      ["/", "", true],
      ["/last", "", true],
    ],
  );
  t.strictSame(whole.messages[0]?.trailers, ["X-Sum", "1"]);
  const wanted = summary(whole);
  for (let at = 0; at <= conversation.length; at++) {
    const cutOnce = summary(readRequests(cut(conversation, [at])));
    if (cutOnce !== wanted) t.equal(cutOnce, wanted, `cut at ${at}`);
  }
  t.equal(summary(readRequests(cut(conversation, [...conversation.keys()]))), wanted, "byte by byte");
});

t.test("property: damaged and random bytes only ever throw ProxyError", async () => {
  // The readers rethrow everything that is not a ProxyError, which fails the property.
  const piece = fc.constantFrom(
    ...[
      "GET / HTTP/1.1\r\n",
      "HTTP/1.1 200 OK\r\n",
      "Host: a\r\n",
      "Content-Length: 3\r\n",
      "Transfer-Encoding: chunked\r\n",
    ],
    ...[
      "Connection: close, x\r\n",
      "\r\n",
      "\r",
      "\n",
      "3\r\nabc\r\n",
      "0\r\n",
      "abc",
      ":",
      ";",
      " ",
      "\0",
      "\xff",
      "Expect: x\r\n",
    ],
  );
  const wire = fc.oneof(
    fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes)),
    fc.array(piece, { maxLength: 20 }).map((pieces) => latin1(pieces.join(""))),
    fc.tuple(fc.nat(conversation.length - 1), fc.nat(255)).map(([at, byte]) => {
      const damaged = Buffer.from(conversation);
      damaged[at] = byte;
      return damaged;
    }),
  );
  fc.assert(
    fc.property(wire, fc.array(fc.nat(400), { maxLength: 5 }), (bytes, offsets) => {
      const whole = readRequests([bytes]);
      const slices = readRequests(cut(bytes, offsets));
      readResponses([bytes]);
      // Slices may be refused earlier, before a head is whole, but never accepted where the whole is not.
      const isSame = whole.messages.length === slices.messages.length;
      if (whole.error === undefined && slices.error === undefined)
        return isSame && summary(whole) === summary(slices);
      return whole.error === undefined
        ? !isSame || slices.error !== undefined
        : slices.messages.length <= whole.messages.length;
    }),
    { numRuns: 2000 },
  );
});
