/** Runs the pure HTTP/1 codec over the bytes of one direction of a connection, as a connection would, without sockets. */
import { ProxyError } from "../../src/errors/proxy-error.js";
import { ChunkedDecoder } from "../../src/http1/chunked-decoder.js";
import type { BodyFraming } from "../../src/http1/framing.js";
import { HeadReader } from "../../src/http1/head-reader.js";
import { http1Limits, type Http1Limits } from "../../src/http1/limits.js";
import { parseRequestHead, type ParsedRequest } from "../../src/http1/request-head.js";
import { parseResponseHead, type ParsedResponse } from "../../src/http1/response-head.js";

export interface Message<Parsed> {
  readonly parsed: Parsed;
  body: Buffer;
  trailers: readonly string[] | null;
  isComplete: boolean;
}

export interface Reading<Parsed> {
  readonly messages: Message<Parsed>[];
  /** What ended the reading; undefined when all bytes were taken. */
  error: ProxyError | undefined;
}

/** Reads pipelined requests from slices. Errors other than ProxyError are thrown. */
export function readRequests(slices: readonly Buffer[], limits = http1Limits): Reading<ParsedRequest> {
  return read(slices, "request", limits, (text) => parseRequestHead(text, limits));
}

/** Reads responses to requests of one method from slices. */
export function readResponses(
  slices: readonly Buffer[],
  method = "GET",
  limits = http1Limits,
): Reading<ParsedResponse> {
  return read(slices, "response", limits, (text) => parseResponseHead(text, method, limits));
}

function read<Parsed extends { framing: BodyFraming }>(
  slices: readonly Buffer[],
  kind: "request" | "response",
  limits: Http1Limits,
  parse: (text: string) => Parsed,
): Reading<Parsed> {
  const reading: Reading<Parsed> = { messages: [], error: undefined };
  const reader = new HeadReader(limits, kind);
  const decoder = new ChunkedDecoder(limits, kind);
  let open: Message<Parsed> | undefined;
  try {
    for (const slice of slices) {
      for (let at = 0; at < slice.length;) {
        if (open === undefined) {
          at = reader.push(slice, at);
          if (at < 0) break;
          const parsed = parse(reader.text);
          const isComplete = parsed.framing.kind === "none";
          open = { parsed, body: Buffer.alloc(0), trailers: null, isComplete };
          reading.messages.push(open);
        } else at = readBody(open, decoder, slice, at);
        if (open.isComplete) {
          open = undefined;
          decoder.reset();
        }
      }
    }
  } catch (error: unknown) {
    if (!(error instanceof ProxyError)) throw error;
    reading.error = error;
  }
  return reading;
}

function readBody(
  message: Message<{ framing: BodyFraming }>,
  decoder: ChunkedDecoder,
  slice: Buffer,
  at: number,
): number {
  const { framing } = message.parsed;
  const take = (data: Buffer): void => {
    message.body = Buffer.concat([message.body, data]);
  };
  if (framing.kind === "chunked") {
    const end = decoder.feed(slice, at, take);
    message.isComplete = decoder.isDone;
    message.trailers = decoder.trailers;
    return end;
  }
  const wanted = framing.kind === "length" ? framing.length - message.body.length : Infinity;
  const end = Math.min(slice.length, at + wanted);
  take(slice.subarray(at, end));
  message.isComplete = framing.kind === "length" && message.body.length === framing.length;
  return end;
}

/** Cuts bytes at the given offsets, which need not be sorted. */
export function cut(bytes: Buffer, offsets: readonly number[]): Buffer[] {
  const sorted = [
    ...new Set([0, ...offsets.map((offset) => offset % (bytes.length + 1)), bytes.length]),
  ].sort((a, b) => a - b);
  return sorted.slice(1).map((end, i) => bytes.subarray(sorted[i], end));
}
