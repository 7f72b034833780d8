/** The HTTP/2 codec without connections: HPACK, heads, frames. */
import { ProxyError } from "../../src/errors/proxy-error.js";
import { http1Limits } from "../../src/http1/limits.js";
import { parseRequestHead } from "../../src/http1/request-head.js";
import { ByteWriter } from "../../src/traffic/byte-writer.js";
import { Http2ConnectionError } from "../../src/http2/connection-error.js";
import { FrameReader } from "../../src/http2/frame-reader.js";
import { frameType } from "../../src/http2/frame.js";
import { fieldOverhead, HpackDecoder } from "../../src/http2/hpack-decoder.js";
import { HpackEncoder } from "../../src/http2/hpack-encoder.js";
import { HpackError } from "../../src/http2/hpack-error.js";
import { http2Limits } from "../../src/http2/limits.js";
import { readRequestHead, writeRequestHead } from "../../src/http2/request-fields.js";
import { readResponseHead, writeResponseHead } from "../../src/http2/response-fields.js";
import { readTrailers, writeTrailers } from "../../src/http2/trailer-fields.js";
import type { RequestHead } from "../../src/traffic/message.js";
import { cut } from "../support/http1-messages.js";
import { seeded } from "../support/seeded-random.js";
import { mutateFrames } from "./frame-mutation.js";
import {
  cutsOf,
  hashOf,
  outcomeOf,
  promise,
  promiseEqual,
  sizeClass,
  type FuzzTarget,
} from "./fuzz-target.js";

const tableBytes = 4096;
const maxBytes = 8192;
const maxFields = 100;

/** Fields of a block, or what was wrong with it. */
function decodeWith(decoder: HpackDecoder, block: Buffer): { fields: string[]; outcome: string } {
  const fields: string[] = [];
  const outcome = decoder.decode(block, 0, block.length, fields, maxBytes, maxFields);
  const size = fields.reduce((sum, text) => sum + text.length, 0) + (fields.length / 2) * fieldOverhead;
  promise(size <= maxBytes, () => `${size} bytes of fields were kept`);
  promise(fields.length <= 2 * maxFields, () => `${fields.length / 2} fields were kept`);
  return { fields, outcome };
}

function written(write: (out: ByteWriter) => void): Buffer {
  const out = new ByteWriter(64);
  write(out);
  return Buffer.from(out.bytes.subarray(0, out.at));
}

/** Blocks on one connection, each after a byte with its length. */
export const hpackDecoderTarget: FuzzTarget = {
  ...{ name: "hpack-decoder", weight: 1.5, maxBytes: 3000 },
  words: [
    ...[
      [0x82],
      [0x40],
      [0x20],
      [0x3f, 0xe1, 0x1f],
      [0xbe],
      [0xbf],
      [0x00],
      [0x10],
      [0x7f, 0x80],
      [0xff, 0xff, 0xff],
    ],
    ...[
      [0x41, 0x8c, 0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff],
      [0x5f, 0x01, 0x61],
    ],
  ].map((bytes) => Buffer.from(bytes)),
  run(input) {
    const decoder = new HpackDecoder(tableBytes);
    const encoder = new HpackEncoder(tableBytes);
    const reader = new HpackDecoder(tableBytes);
    const outcomes: string[] = [];
    for (let at = 0; at < input.length;) {
      const end = Math.min(input.length, at + 1 + (input[at] as number));
      const block = input.subarray(at + 1, end);
      at = end;
      try {
        const { fields, outcome } = decodeWith(decoder, block);
        outcomes.push(outcome + sizeClass(fields.length / 2));
        if (outcome !== "ok") continue;
        const again = written((out) => {
          encoder.begin(out);
          for (let i = 0; i < fields.length; i += 2)
            encoder.field(out, fields[i] as string, fields[i + 1] as string);
        });
        promiseEqual(decodeWith(reader, again), { fields, outcome }, "what was coded is read");
      } catch (error: unknown) {
        if (!(error instanceof HpackError)) throw error;
        outcomes.push(outcomeOf(error.message));
        break;
      }
    }
    return outcomes.slice(0, 4).join();
  },
};

/** Lines `name:value`; `#` ends a block, `@n` is a new table size of n * 16. */
export const hpackEncoderTarget: FuzzTarget = {
  ...{ name: "hpack-encoder", weight: 1, maxBytes: 3000 },
  words: [
    "\n#\n",
    "\n@1\n",
    "\n@256\n",
    "x-a:b\n",
    ":path:/\n",
    ":status:200\n",
    "cookie:a\n",
    "x".repeat(130),
  ].map((text) => Buffer.from(text)),
  run(input) {
    const encoder = new HpackEncoder(tableBytes);
    const decoder = new HpackDecoder(tableBytes);
    let [refused, sent, bytes] = [0, 0, 0];
    for (const part of input.toString("latin1").split("\n#\n")) {
      const fields: string[] = [];
      let isBad = false;
      const block = written((out) => {
        const lines = part.split("\n");
        for (const line of lines.filter((text) => text.startsWith("@")))
          encoder.setPeerTableBytes((Number.parseInt(line.slice(1), 10) || 0) * 16);
        encoder.begin(out);
        for (const line of lines.filter((text) => text !== "" && !text.startsWith("@"))) {
          const colon = line.indexOf(":", 1);
          const [name, value] = [line.slice(0, colon), line.slice(colon + 1).trim()];
          if (isBad || colon < 0 || fields.length >= 2 * maxFields) continue;
          try {
            encoder.field(out, name, value);
            fields.push(name, value);
          } catch (error: unknown) {
            if (!(error instanceof ProxyError)) throw error;
            isBad = true;
            encoder.abandon();
          }
        }
      });
      if (isBad) {
        refused++;
        continue;
      }
      const size = fields.reduce((sum, text) => sum + text.length, 0) + (fields.length / 2) * fieldOverhead;
      const read = decodeWith(decoder, block);
      if (size <= maxBytes) promiseEqual(read.fields, fields, "what was coded is read");
      sent++;
      bytes += block.length;
    }
    return `${sizeClass(refused)} ${sizeClass(sent)} ${bytes < input.length / 2}`;
  },
};

const asked: RequestHead = {
  ...{ method: "GET", target: "/", authority: "a.test", version: "2", headers: [], upgrade: "" },
};

/** Lines `name:value` as the decoded fields of a head: as a request, a response, trailers. */
export const http2HeadTarget: FuzzTarget = {
  ...{ name: "http2-heads", weight: 1, maxBytes: 2000 },
  words: [
    ...[
      ":method:GET\n",
      ":path:/\n",
      ":scheme:http\n",
      ":authority:a.test\n",
      ":protocol:websocket\n",
      "host:a.test\n",
    ],
    ...[
      ":status:200\n",
      ":status:101\n",
      "content-length:5\n",
      "te:trailers\n",
      "connection:x\n",
      "cookie:a=b\n",
    ],
    ...[
      "expect:100-continue\n",
      "x-remora-case:t,ETag\n",
      "upgrade:h2c\n",
      ":method:CONNECT\n",
      "transfer-encoding:x\n",
    ],
  ].map((text) => Buffer.from(text)),
  run(input) {
    const fields = input
      .toString("latin1")
      .split("\n")
      .flatMap((line) => {
        const colon = line.indexOf(":", 1);
        return colon < 0 ? [] : [line.slice(0, colon), line.slice(colon + 1).trim()];
      });
    // What the decoder lets through is what reaches the readers.
    const decoder = new HpackDecoder(tableBytes);
    const decoded = decodeWith(decoder, literalBlock(fields));
    if (decoded.outcome !== "ok") return decoded.outcome;
    const isMesh = hashOf(input) % 2 === 0;
    const options = { limits: http2Limits, isMesh };
    const kinds = [
      () => requestAgain([...decoded.fields], isMesh),
      () => {
        const { head } = readResponseHead([...decoded.fields], asked, options);
        const block = written((out) =>
          writeResponseHead(new HpackEncoder(tableBytes), out, head, asked, options),
        );
        const again = readResponseHead(
          decodeWith(new HpackDecoder(tableBytes), block).fields,
          asked,
          options,
        );
        promiseEqual(again.head.status, head.status, "status of a written response");
        promiseEqual(
          lowerNames(again.head.headers),
          lowerNames(head.headers),
          "fields of a written response",
        );
        return `response ${Math.floor(head.status / 100)}`;
      },
      () => {
        const trailers = readTrailers([...decoded.fields]);
        if (trailers === null) return "none";
        const block = written((out) => writeTrailers(new HpackEncoder(tableBytes), out, trailers));
        promiseEqual(decodeWith(new HpackDecoder(tableBytes), block).fields, trailers, "written trailers");
        return "trailers";
      },
    ];
    return kinds
      .map((read) => {
        try {
          return read();
        } catch (error: unknown) {
          if (!(error instanceof ProxyError) || error.code === "internal") throw error;
          return outcomeOf(error.message);
        }
      })
      .join(" | ");
  },
};

function requestAgain(fields: string[], isMesh: boolean): string {
  const options = { limits: http2Limits, isMesh };
  const { head, contentLength } = readRequestHead(fields, options);
  const block = written((out) => writeRequestHead(new HpackEncoder(tableBytes), out, head, options));
  const again = readRequestHead(decodeWith(new HpackDecoder(tableBytes), block).fields, options);
  promiseEqual(
    [again.head.method, again.head.target, again.head.authority, again.head.upgrade, again.contentLength],
    [head.method, head.target, head.authority, head.upgrade, contentLength],
    "a written request",
  );
  promiseEqual(lowerNames(again.head.headers), lowerNames(head.headers), "fields of a written request");
  return `request ${head.upgrade !== ""} ${contentLength >= 0}`;
}

function lowerNames(headers: readonly string[]): string[] {
  return headers.map((text, i) => (i % 2 === 0 ? text.toLowerCase() : text));
}

/** Literals without indexing (RFC 7541 §6.2.2). */
function literalBlock(fields: readonly string[]): Buffer {
  return written((out) => {
    for (let i = 0; i < fields.length; i++) {
      const bytes = Buffer.from(fields[i] as string, "latin1");
      out.ensure(bytes.length + 8);
      if (i % 2 === 0) out.bytes[out.at++] = 0;
      let rest = bytes.length - 127;
      out.bytes[out.at++] = Math.min(127, bytes.length);
      for (; rest >= 128; rest >>= 7) out.bytes[out.at++] = (rest & 127) | 128;
      if (bytes.length >= 127) out.bytes[out.at++] = rest;
      out.at += bytes.copy(out.bytes, out.at);
    }
  });
}

/** A request head that came by HTTP/1 crosses the mesh by HTTP/2 and comes out the same. */
export const meshHeadTarget: FuzzTarget = {
  ...{ name: "mesh-heads", weight: 1, maxBytes: 4000 },
  words: [
    "\r\n",
    "Host: a.test\r\n",
    "X-Request-Id: 1\r\n",
    "ETag: x\r\n",
    "cookie: a\r\n",
    "TE: trailers\r\n",
    "x: \x80\r\n",
  ].map((text) => Buffer.from(text, "latin1")),
  run(input) {
    const text = input.toString("latin1");
    let head: RequestHead;
    try {
      ({ head } = parseRequestHead(text, http1Limits));
    } catch (error: unknown) {
      if (!(error instanceof ProxyError)) throw error;
      return outcomeOf(error.message);
    }
    // HTTP/1.0 may leave Host out: the connection puts its own address there.
    if (head.authority === "") return "no authority";
    const options = { limits: http2Limits, isMesh: true };
    const block = written((out) => writeRequestHead(new HpackEncoder(tableBytes), out, head, options));
    const { fields, outcome } = decodeWith(new HpackDecoder(tableBytes), block);
    if (outcome === "too_large" || outcome === "too_many") return outcome;
    promiseEqual(outcome, "ok", "what HTTP/1 lets in, HTTP/2 does");
    const again = readRequestHead(fields, options).head;
    promiseEqual(
      [again.method, again.target, again.authority, again.upgrade],
      // A tunnel is asked for by CONNECT; what it was before is not told.
      [head.upgrade === "" ? head.method : "GET", head.target, head.authority, head.upgrade],
      "a request across the mesh",
    );
    // Letter case, too, as long as the mark that tells it has room.
    const told = input.length < 1500 ? (headers: readonly string[]) => headers : lowerNames;
    promiseEqual(joinCookies(told(again.headers)), joinCookies(told(head.headers)), "fields across the mesh");
    return `crossed ${head.upgrade} ${sizeClass(head.headers.length / 2)}`;
  },
};

/** Crumbs of a cookie are joined at the first one's place; Host comes first. */
function joinCookies(headers: readonly string[]): string[] {
  const all: string[] = [];
  let cookieAt = -1;
  for (let i = 0; i < headers.length; i += 2) {
    const [name, value] = [headers[i] as string, headers[i + 1] as string];
    const lower = name.toLowerCase();
    if (lower === "host" || lower === "x-remora-case") continue;
    if (lower === "cookie" && cookieAt >= 0) all[cookieAt] = `${all[cookieAt]}; ${value}`;
    else {
      if (lower === "cookie") cookieAt = all.length + 1;
      all.push(name, value);
    }
  }
  return all;
}

export const frameTarget: FuzzTarget = {
  ...{
    name: "http2-frames",
    weight: 0.5,
    maxBytes: 4000,
    words: [Buffer.from([0, 0, 0]), Buffer.from([0, 64, 1])],
  },
  mutate: mutateFrames,
  run(input) {
    const whole = framesOf([input]);
    const inPieces = framesOf(cut(input, cutsOf(input, seeded(hashOf(input)))));
    promiseEqual(inPieces, whole, "frames do not depend on the cuts");
    const last = whole.at(-1) ?? "";
    return `${sizeClass(whole.length)} ${outcomeOf(last.split(" ").slice(0, 4).join(" "))}`;
  },
};

/** Each frame in words; DATA that came in pieces is put together. */
function framesOf(slices: readonly Buffer[]): string[] {
  const frames: string[] = [];
  let [content, credit, pieces] = ["", 0, 0];
  const head = (): string => `${reader.type} ${reader.flags} ${reader.streamId} ${reader.length}`;
  const reader = new FrameReader(
    {
      data(bytes, from, to, taken, isLast) {
        promise(reader.type === frameType.data && from <= to && to <= bytes.length, () => "not DATA");
        content += bytes.toString("latin1", from, to);
        credit += taken;
        pieces++;
        promise(pieces <= reader.length + 1, () => "more pieces than bytes");
        if (!isLast) return;
        promiseEqual(credit, reader.length, "flow control counts the whole frame");
        frames.push(`data ${head()} ${content}`);
        [content, credit, pieces] = ["", 0, 0];
      },
      frame(bytes, from, to) {
        promiseEqual(to - from, reader.length, "a whole payload");
        frames.push(`frame ${head()} ${bytes.toString("latin1", from, to)}`);
      },
    },
    http2Limits.maxFrameBytes,
  );
  try {
    for (const slice of slices) reader.push(slice, 0);
    frames.push(reader.isInsideOfFrame ? "inside" : "between");
  } catch (error: unknown) {
    if (!(error instanceof Http2ConnectionError)) throw error;
    frames.push(`error ${error.message}`);
  }
  return frames;
}
