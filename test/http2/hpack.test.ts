/** HPACK by RFC 7541: its own examples, what is refused, what is indexed, round trips, and nghttp2 (node:http2) as a peer. */
import fc from "fast-check";
import { once } from "node:events";
import http2 from "node:http2";
import net, { type AddressInfo } from "node:net";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import t from "tap";
import { ByteWriter } from "../../src/traffic/byte-writer.js";
import { HpackDecoder } from "../../src/http2/hpack-decoder.js";
import { HpackEncoder } from "../../src/http2/hpack-encoder.js";
import { HpackError } from "../../src/http2/hpack-error.js";
import { huffmanCodes, huffmanLengths } from "../../src/http2/huffman-code.js";
import { seeded } from "../support/seeded-random.js";

type Field = readonly [name: string, value: string];

function decode(decoder: HpackDecoder, block: Buffer, maxBytes = 65_536, maxFields = 200) {
  const fields: string[] = [];
  const outcome = decoder.decode(block, 0, block.length, fields, maxBytes, maxFields);
  return { outcome, fields };
}

function encode(encoder: HpackEncoder, fields: readonly Field[]): Buffer {
  const out = new ByteWriter(16);
  encoder.begin(out);
  for (const [name, value] of fields) encoder.field(out, name, value);
  return Buffer.from(out.bytes.subarray(0, out.at));
}

/** A text as its length, which has a prefix of seven bits, and its bytes. */
function lengthAnd(bits: number, bytes: Buffer): Buffer {
  if (bytes.length < 127) return Buffer.concat([Buffer.of(bits | bytes.length), bytes]);
  const length = [bits | 127];
  let rest = bytes.length - 127;
  for (; rest >= 128; rest >>= 7) length.push((rest & 127) | 128);
  return Buffer.concat([Buffer.of(...length, rest), bytes]);
}

/** A literal field that goes into the table. */
function inserted(name: string, value: string): Buffer {
  const texts = [name, value].map((text) => lengthAnd(0, Buffer.from(text, "latin1")));
  return Buffer.concat([Buffer.of(0x40), ...texts]);
}

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(" ", ""), "hex");

const firstRequests = [
  [":method", "GET", ":scheme", "http", ":path", "/", ":authority", "www.example.com"],
  [
    ...[":method", "GET", ":scheme", "http", ":path", "/", ":authority", "www.example.com"],
    ...["cache-control", "no-cache"],
  ],
  [
    ...[":method", "GET", ":scheme", "https", ":path", "/index.html", ":authority", "www.example.com"],
    ...["custom-key", "custom-value"],
  ],
];
const cookie = "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1";
const dates = ["Mon, 21 Oct 2013 20:13:21 GMT", "Mon, 21 Oct 2013 20:13:22 GMT"] as const;
const location = ["location", "https://www.example.com"];
const responses = [
  [":status", "302", "cache-control", "private", "date", dates[0], ...location],
  [":status", "307", "cache-control", "private", "date", dates[0], ...location],
  [
    ...[":status", "200", "cache-control", "private", "date", dates[1], ...location],
    ...["content-encoding", "gzip", "set-cookie", cookie],
  ],
];

t.test("the examples of RFC 7541, Appendix C", async (t) => {
  const cases: readonly (readonly [string, blocks: readonly string[], wanted: readonly string[][]])[] = [
    [
      "C.2.1",
      ["400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572"],
      [["custom-key", "custom-header"]],
    ],
    ["C.2.2", ["040c 2f73 616d 706c 652f 7061 7468"], [[":path", "/sample/path"]]],
    ["C.2.3", ["1008 7061 7373 776f 7264 0673 6563 7265 74"], [["password", "secret"]]],
    ["C.2.4", ["82"], [[":method", "GET"]]],
    [
      "C.3",
      [
        "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "8286 84be 5808 6e6f 2d63 6163 6865",
        "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
      ],
      firstRequests,
    ],
    [
      "C.4",
      [
        "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
        "8286 84be 5886 a8eb 1064 9cbf",
        "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
      ],
      firstRequests,
    ],
    [
      "C.5",
      [
        `3fe101 4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133
         3a32 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d`,
        "4803 3330 37c1 c0bf",
        `88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970
         7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61
         6765 3d33 3630 303b 2076 6572 7369 6f6e 3d31`,
      ],
      responses,
    ],
    [
      "C.6",
      [
        `3fe101 4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d
         29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3`,
        "4883 640e ffc1 c0bf",
        `88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2
         e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07`,
      ],
      responses,
    ],
  ];
  for (const [name, blocks, wanted] of cases) {
    const decoder = new HpackDecoder(4096);
    for (const [i, block] of blocks.entries()) {
      t.strictSame(
        decode(decoder, hex(block.replace(/\s/g, ""))),
        { outcome: "ok", fields: wanted[i] },
        `${name}, block ${i + 1}`,
      );
    }
  }
});

t.test("blocks that are a compression error", async (t) => {
  const cases: readonly (readonly [string, string])[] = [
    ["index 0", "80"],
    ["an index beyond the table", "be"],
    ["a name beyond the table", "7e 00"],
    ["ends inside of an index", "ff"],
    ["ends inside of a longer index", "ff 80"],
    ["an integer over 2^28", "ff 80 80 80 80 01"],
    ["an integer with zeros without end", "ff 80 80 80 80 80 00"],
    ["ends before the name", "40"],
    ["ends inside of the name", "40 03 61 62"],
    ["ends before the value", "40 01 61"],
    ["ends inside of the value", "40 01 61 02 62"],
    ["a length beyond the block", "00 7f ff ff 7f 61"],
    ["a table size after a field", "82 20"],
    ["three table sizes", "20 20 20"],
    ["a table size over the setting", "3f e2 1f"],
    ["padding of zeros", "00 01 61 81 18"],
    ["padding of a whole byte", "00 01 61 82 1f ff"],
    ["end of string as a symbol", "00 01 61 85 ff ff ff ff ff"],
    ["only padding, more than seven bits", "00 01 61 81 ff"],
  ];
  for (const [name, block] of cases) {
    t.throws(() => decode(new HpackDecoder(4096), hex(block)), new HpackError(), name);
  }
  t.strictSame(decode(new HpackDecoder(4096), hex("20 3f e1 1f 82")).fields, [":method", "GET"], "two sizes");
});

t.test("every symbol of the Huffman code", async (t) => {
  let bits = "";
  let text = "";
  for (let symbol = 0; symbol < 256; symbol++) {
    bits += (huffmanCodes[symbol] as number).toString(2).padStart(huffmanLengths[symbol] as number, "0");
    text += String.fromCharCode(symbol);
  }
  bits = bits.padEnd(Math.ceil(bits.length / 8) * 8, "1");
  const coded = Buffer.from((bits.match(/.{8}/g) ?? []).map((byte) => parseInt(byte, 2)));
  const block = Buffer.concat([hex("00 01 61"), lengthAnd(0x80, coded)]);
  t.strictSame(decode(new HpackDecoder(4096), block), { outcome: "malformed", fields: ["a", text] });
});

t.test("names and values that are no field of HTTP/2", async (t) => {
  const names = [
    "",
    "A",
    "aB",
    "a b",
    "a:b",
    "a\r",
    "a\n",
    "a\0",
    "\u00e9",
    ":",
    ":A",
    ": a",
    "a\x7f",
    "(",
    "a\t",
  ];
  const values = ["a\rb", "a\nb", "\0", "a\x0b", "\x7f", " a", "a ", "\ta", "a\t", " ", "\r\nx: y"];
  const good: Field[] = [
    ["a", ""],
    ["a", "b c\td"],
    ["a", "caf\u00e9"],
    ["__proto__", "x"],
    [":status", "200"],
    ["1", "(\"')"],
  ];
  const bad = [...names.map((name): Field => [name, "x"]), ...values.map((value): Field => ["a", value])];
  for (const [name, value] of bad) {
    const decoder = new HpackDecoder(4096);
    const what = JSON.stringify([name, value]);
    t.equal(decode(decoder, inserted(name, value)).outcome, "malformed", what);
    t.equal(decode(decoder, hex("be")).outcome, "malformed", `${what} by its index`);
    const byName = decode(decoder, hex("7e 01 62")).outcome;
    t.equal(byName, names.includes(name) ? "malformed" : "ok", `${what} by its name's index`);
    t.equal(decode(decoder, hex("82")).outcome, "ok", "and nothing is left of it");
  }
  for (const [name, value] of good) {
    t.strictSame(decode(new HpackDecoder(4096), inserted(name, value)), {
      outcome: "ok",
      fields: [name, value],
    });
  }
});

t.test("a block over its limits is decoded on without being kept", async (t) => {
  const decoder = new HpackDecoder(4096);
  const encoder = new HpackEncoder(4096);
  const many = Array.from({ length: 30 }, (_, i): Field => [`name-${i % 10}`, "v".repeat(40)]);
  t.equal(decode(decoder, encode(encoder, many), 65_536, 29).outcome, "too_many");
  const { outcome, fields } = decode(decoder, encode(encoder, many), 1000, 200);
  t.equal(outcome, "too_large");
  t.ok(fields.length / 2 <= 1000 / (32 + 46), "kept no more than the limit");
  t.strictSame(decode(decoder, encode(encoder, many), 65_536, 30), { outcome: "ok", fields: many.flat() });
  t.equal(
    decode(decoder, encode(encoder, [["a", "x".repeat(967)]]), 1000).outcome,
    "ok",
    "name + value + 32",
  );
  t.equal(decode(decoder, encode(encoder, [["a", "x".repeat(968)]]), 1000).outcome, "too_large");
});

setFlagsFromString("--expose-gc");
const sweep = runInNewContext("gc") as () => void;

function heldBytes(): number {
  sweep();
  return process.memoryUsage().heapUsed;
}

t.test("bombs cost what their bytes cost", async (t) => {
  const million = 1 << 20;
  const bombs: readonly (readonly [string, Buffer])[] = [
    [
      "references to one big entry",
      Buffer.concat([inserted("a", "x".repeat(4000)), Buffer.alloc(million, 0xbe)]),
    ],
    ["ever new entries", Buffer.alloc(million, hex("40 01 61 00"))],
    [
      "ever new entries with one big name",
      Buffer.concat([inserted("x".repeat(4000), ""), Buffer.alloc(million, hex("7e 00"))]),
    ],
    [
      "one long text",
      Buffer.concat([hex("00 01 61"), lengthAnd(0x80, Buffer.alloc(1_048_575, hex("18 c6 31 8c 63")))]),
    ],
  ];
  const before = heldBytes();
  const decoders = bombs.map(() => new HpackDecoder(4096));
  for (const [i, [name, bomb]] of bombs.entries()) {
    const { outcome, fields } = decode(decoders[i] as HpackDecoder, bomb);
    t.equal(outcome, "too_large", name);
    t.ok(fields.join("").length <= 65_536, `${name}: kept within the limit`);
  }
  t.ok(heldBytes() - before < 1 << 20, "nothing of it is held");
  t.equal(decoders.length, bombs.length);

  // A byte that refers to a big name must not cost a look at all of it: that would be hundreds of times more.
  const references = (name: string): Buffer =>
    Buffer.concat([inserted(name, ""), Buffer.alloc(1 << 18, hex("7e 00"))]);
  const cost = (block: Buffer): number => {
    const costs = [1, 2, 3].map(() => {
      const { user } = process.cpuUsage();
      decode(new HpackDecoder(4096), block);
      return process.cpuUsage().user - user;
    });
    return Math.min(...costs);
  };
  const short = cost(references("x"));
  // The clock of a process may tick in 10 ms.
  const allowed = 20 * short + 200_000;
  t.ok(cost(references("x".repeat(4000))) < allowed, "a big name costs what a short one does");
});

t.test("what is indexed, and what never", async (t) => {
  const id = "8f14e45f-ceea-467f-a8f4-2b1c3d4e5f60";
  const cases: readonly (readonly [field: Field, wanted: "index" | "literal" | "name" | "never"])[] = [
    [["content-type", "application/grpc"], "index"],
    [["x-own", "some value"], "index"],
    [[":authority", "orders.mesh"], "index"],
    [[":path", "/orders/1"], "literal"],
    [["content-length", "12345"], "literal"],
    [["date", dates[0]], "literal"],
    [["etag", '"abc"'], "literal"],
    [["x-request-id", id], "name"],
    [["x-b3-traceid", "80f198ee56343ba8"], "name"],
    [["traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"], "name"],
    [["grpc-timeout", "99m"], "name"],
    [["sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="], "name"],
    [["idempotency-key", id], "name"],
    [["x-long", "v".repeat(2000)], "literal"],
    [["authorization", "Basic YWxhZGRpbjpvcGVuc2VzYW1l"], "never"],
    [["authorization", `Bearer ${"x".repeat(200)}`], "never"],
    [["proxy-authorization", "Basic x"], "never"],
    [["cookie", "a=1"], "never"],
    [["set-cookie", "a=1; Secure"], "never"],
  ];
  for (const [field, wanted] of cases) {
    const encoder = new HpackEncoder(4096);
    const blocks = [1, 2, 3, 4].map(() => encode(encoder, [field]));
    const kinds = blocks.map(([first = 0]) =>
      first >= 0x80 ? "indexed" : first >= 0x40 ? "insert" : first >= 0x10 ? "never" : "literal",
    );
    const all =
      wanted === "index"
        ? ["literal", "insert", "indexed", "indexed"]
        : wanted === "name"
          ? ["insert", "literal", "literal", "literal"]
          : Array(4).fill(wanted);
    t.strictSame(kinds, all, field.join(": ").slice(0, 60));
    // Nobody can try values against the one that is in the table: lengths do not tell.
    if (wanted === "name") t.equal(blocks[1]?.length, 3 + field[1].length, "its name is not spelled again");
  }
  const encoder = new HpackEncoder(4096);
  t.same(
    encode(encoder, [
      [":method", "GET"],
      [":status", "404"],
      [":scheme", "https"],
    ]),
    hex("82 8d 87"),
  );
  encode(encoder, [
    ["x-a", "1"],
    ["x-a", "2"],
    ["x-a", "1"],
    ["x-a", "2"],
  ]);
  t.same(
    encode(encoder, [
      ["x-a", "1"],
      ["x-a", "2"],
    ]),
    hex("bf be"),
    "two values taking turns are both there",
  );
});

t.test("once-only values do not push out what comes again", async (t) => {
  const encoder = new HpackEncoder(4096);
  const usual: Field = ["user-agent", "curl/7.88.1"];
  encode(encoder, [usual, usual]);
  for (let i = 0; i < 1000; i++) encode(encoder, [["x-unknown-id", `${i}-${"v".repeat(20)}`]]);
  t.equal(encode(encoder, [usual]).length, 1);
});

t.test("names and values that must not be sent", async (t) => {
  const bad: Field[] = [
    ...["", "A", "a b", "a\n", "\u00e9", ":", "\u0101"].map((name): Field => [name, "x"]),
    ...["a\rb", "a\nb", "\0", "\u010a", "\x7f", `${"x".repeat(100)}\n`].map((value): Field => ["a", value]),
  ];
  const encoder = new HpackEncoder(4096);
  const decoder = new HpackDecoder(4096);
  const good: Field[] = [
    ["x-a", "1"],
    ["x-b", "2"],
  ];
  for (const field of bad) {
    decode(decoder, encode(encoder, good));
    // The block is lost halfway, with an entry in it that the decoder never sees.
    const own: Field = [`x-${bad.indexOf(field)}`, "again"];
    t.throws(() => encode(encoder, [own, own, field]), { code: "internal" }, JSON.stringify(field));
    encoder.abandon();
    t.strictSame(decode(decoder, encode(encoder, [own, ...good])).fields, [...own, ...good.flat()]);
  }
  t.strictSame(
    decode(
      decoder,
      encode(encoder, [
        ["x-a", " \t v w\t "],
        ["x-b", " "],
      ]),
    ).fields,
    ["x-a", "v w", "x-b", ""],
  );
});

t.test("whoever chooses names and values cannot fill the memory", async (t) => {
  const encoder = new HpackEncoder(4096);
  const out = new ByteWriter(128 * 1024);
  const before = heldBytes();
  for (let i = 0; i < 3000; i++) {
    // As HTTP/1 has it: name and value are cut out of a head of 64 KiB.
    const head = Buffer.from(`x-name-${i}:${"value-".repeat(8)}${i}:${"x".repeat(64 * 1024)}`).toString(
      "latin1",
    );
    const [name = "", value = ""] = head.split(":");
    out.at = 0;
    encoder.field(out, name, value);
    encoder.field(out, name, value);
    encoder.field(out, `${name}-${"n".repeat(1000)}`, value);
  }
  t.ok(heldBytes() - before < 2 << 20);
  t.ok(encode(encoder, [["a", "b"]]).length > 0, "still in use");
});

const names = fc.oneof(
  fc.constantFrom(":path", ":method", "cookie", "date", "accept", "x-request-id", "x-a", "x-b", "te", "etag"),
  fc.stringMatching(/^[a-z0-9!#$%&'*+.^_`|~-]{1,70}$/),
);
const values = fc.oneof(
  fc.constantFrom("", "1", "GET", "/", "trailers", "gzip, deflate", "v".repeat(900), "w".repeat(300)),
  fc.stringMatching(/^[!-~\u0080-\u00ff]([\t -~\u0080-\u00ff]{0,150}[!-~\u0080-\u00ff])?$/),
);
const fieldLists = fc.array(fc.tuple(names, values), { maxLength: 20 });

t.test("what is encoded is decoded, over tables of changing size and lost blocks", async () => {
  const steps = fc.array(
    fc.record({
      fields: fieldLists,
      tables: fc.array(fc.constantFrom(0, 31, 64, 200, 1000, 4096, 65_536), { maxLength: 2 }),
      isLost: fc.boolean(),
    }),
    { maxLength: 20 },
  );
  fc.assert(
    fc.property(steps, fc.constantFrom(0, 100, 4096), (steps, maxTable) => {
      const encoder = new HpackEncoder(maxTable);
      const decoder = new HpackDecoder(4096);
      for (const { fields, tables, isLost } of steps) {
        for (const bytes of tables) encoder.setPeerTableBytes(bytes);
        for (let again = 0; again < 2; again++) {
          const block = encode(encoder, fields);
          if (isLost && again === 0) {
            encoder.abandon();
            continue;
          }
          const decoded = decode(decoder, block);
          if (decoded.outcome !== "ok" || decoded.fields.join("\n") !== fields.flat().join("\n"))
            return false;
        }
      }
      return true;
    }),
  );
});

t.test("bytes of any kind give an outcome or a compression error", async () => {
  const mutated = fc
    .tuple(
      fc.array(fieldLists, { minLength: 1, maxLength: 4 }),
      fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 3 }),
    )
    .map(([lists, changes]) => {
      const encoder = new HpackEncoder(4096);
      const block = Buffer.concat(lists.map((fields) => encode(encoder, fields)));
      for (const [at, byte] of changes) if (block.length > 0) block[at % block.length] = byte;
      return block;
    });
  const anything = fc.oneof(
    mutated,
    fc.uint8Array({ maxLength: 400 }).map((bytes) => Buffer.from(bytes)),
  );
  fc.assert(
    fc.property(fc.array(anything, { maxLength: 4 }), (blocks) => {
      const decoder = new HpackDecoder(4096);
      try {
        for (const block of blocks) {
          const { outcome, fields } = decode(decoder, block, 2000, 20);
          const bytes = fields.reduce((sum, text) => sum + text.length, 16 * fields.length);
          if (!["ok", "too_large", "too_many", "malformed"].includes(outcome)) return false;
          if (bytes > 2000 || fields.length > 40) return false;
        }
      } catch (error) {
        return error instanceof HpackError;
      }
      return true;
    }),
    { numRuns: 500 },
  );
});

/** One block in one frame. */
function frame(type: number, flags: number, streamId: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head.writeUInt8(type, 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(streamId, 5);
  return Buffer.concat([head, payload]);
}

t.test("nghttp2 understands us, and we it", { timeout: 20_000 }, async (t) => {
  const random = seeded(7541);
  const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)] as T;
  const pool = [
    "user-agent",
    "accept",
    "cookie",
    "authorization",
    "x-a",
    "x-b",
    "x-c",
    "x-request-id",
    "etag",
    "x-long",
  ];
  const text = (): string =>
    pick([
      "1",
      "",
      "gzip, deflate",
      "ab".repeat(150),
      `${Math.floor(random() * 1e9)}`,
      "session=0123456789abcdef0123",
      "x".repeat(1200),
    ]);

  const server = http2.createServer({ settings: { headerTableSize: 4096 } });
  const seen: string[][] = [];
  server.on("stream", (stream: http2.ServerHttp2Stream, _: unknown, __: unknown, raw: string[]) => {
    seen.push(raw);
    const echoed: Record<string, string> = {};
    for (let i = 0; i < raw.length; i += 2)
      if (raw[i]?.startsWith(":") === false) echoed[raw[i] as string] = raw[i + 1] as string;
    stream.respond({ ":status": 200, ...echoed }, { endStream: true });
  });
  const sessions: http2.ServerHttp2Session[] = [];
  server.on("session", (session) => sessions.push(session));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const socket = net.connect((server.address() as AddressInfo).port, "127.0.0.1");
  const encoder = new HpackEncoder(4096);
  const decoder = new HpackDecoder(4096);
  let received: Buffer = Buffer.alloc(0);
  let settings = 0;
  const answers: string[][] = [];
  let wake = (): void => {};
  socket.on("data", (chunk: Buffer) => {
    received = Buffer.concat([received, chunk]);
    while (received.length >= 9 && received.length >= 9 + received.readUIntBE(0, 3)) {
      const payload = received.subarray(9, 9 + received.readUIntBE(0, 3));
      const type = received.readUInt8(3);
      const flags = received.readUInt8(4);
      received = received.subarray(9 + payload.length);
      if (type === 4 && (flags & 1) === 0) {
        for (let i = 0; i < payload.length; i += 6)
          if (payload.readUInt16BE(i) === 1) encoder.setPeerTableBytes(payload.readUInt32BE(i + 2));
        settings++;
        socket.write(frame(4, 1, 0, Buffer.alloc(0)));
      } else if (type === 1) {
        const { outcome, fields } = decode(decoder, payload);
        if (outcome !== "ok") t.fail(`decoded as ${outcome}`);
        answers.push(fields);
      } else if (type === 7) t.fail(`GOAWAY ${payload.toString("latin1", 8)} ${payload.readUInt32BE(4)}`);
    }
    wake();
  });
  const until = async (isSo: () => boolean): Promise<void> => {
    while (!isSo()) await new Promise<void>((resolve) => (wake = resolve));
  };
  socket.write("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
  socket.write(frame(4, 0, 0, Buffer.alloc(0)));
  await until(() => settings === 1);

  const sent: string[][] = [];
  for (let i = 0; i < 150; i++) {
    if (i > 0 && i % 25 === 0) {
      const before = settings;
      sessions[0]?.settings({ headerTableSize: pick([0, 100, 512, 4096, 65_536]) });
      await until(() => settings > before);
    }
    const chosen = pool.filter(() => random() < 0.6);
    const fields: Field[] = [
      ...([
        [":method", pick(["GET", "DELETE"])],
        [":scheme", "http"],
        [":path", `/${i % 7}`],
        [":authority", "a.b"],
      ] as const),
      ...chosen.map((name): Field => [name, text()]),
    ];
    sent.push(fields.flat());
    socket.write(frame(1, 5, 2 * i + 1, encode(encoder, fields)));
    await until(() => answers.length > i);
  }
  t.strictSame(seen, sent, "150 heads as they were sent");
  const sorted = (fields: readonly string[]): string =>
    fields
      .map((name, i) => (i % 2 === 0 ? `${name}: ${fields[i + 1]}` : ""))
      .sort()
      .join("\n")
      .trim();
  t.strictSame(
    // A date is node's own.
    answers.map((fields) => sorted(fields.filter((_, i) => fields[i - (i % 2)] !== "date"))),
    sent.map((fields) => sorted([":status", "200", ...fields.slice(8)])),
    "150 heads as they came back",
  );
  socket.destroy();
  server.close();
});
