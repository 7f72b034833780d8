/** What the HTTP/1 serializer writes, as text. */
import {
  writeChunkHead,
  writeLastChunk,
  writeRequestHead,
  writeResponseHead,
  type ResponseHeadOptions,
} from "../../src/http1/serialize.js";
import { ByteWriter } from "../../src/traffic/byte-writer.js";
import type { RequestHead, ResponseHead } from "../../src/traffic/message.js";

function written(write: (out: ByteWriter) => void): string {
  const out = new ByteWriter(0);
  write(out);
  return out.bytes.toString("latin1", 0, out.at);
}

export function requestHeadText(head: RequestHead, chunked: boolean, close: boolean, upgrade = ""): string {
  return written((out) => writeRequestHead(out, head, chunked, close, upgrade));
}

export function responseHeadText(head: ResponseHead, options: ResponseHeadOptions): string {
  return written((out) => writeResponseHead(out, head, options));
}

export function chunkHead(length: number): string {
  return written((out) => writeChunkHead(out, length));
}

export function lastChunk(trailers: readonly string[] | null): string {
  return written((out) => writeLastChunk(out, trailers));
}
