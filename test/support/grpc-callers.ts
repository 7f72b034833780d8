/** The two gRPC client libraries behind one face, for tests that must hold with both. */
import { createHash } from "node:crypto";
import type { Metadata } from "@grpc/grpc-js";
import { GrpcEchoClient, patternOf, type EchoMethod } from "./grpc-peers.js";
import { pythonCalls } from "./python-grpc-peer.js";

export interface Asked {
  /** Default: one empty message. */
  readonly messages?: readonly string[];
  /** In place of `messages`: `count` times (default 1) the pattern of so many bytes. */
  readonly size?: number;
  readonly count?: number;
  /** Values of `-bin` keys in base64. */
  readonly metadata?: Readonly<Record<string, string>>;
  readonly deadlineMs?: number;
  readonly cancelAfter?: number;
}

/** How a call ended. Metadata by key, values of `-bin` keys in base64. */
export interface Ended {
  readonly status: number;
  readonly details: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly trailers: Readonly<Record<string, string>>;
  readonly count: number;
  readonly bytes: number;
  /** Of all messages, one after the other. */
  readonly sha256: string;
}

export type GrpcCaller = (address: string, method: EchoMethod, asked?: Asked) => Promise<Ended>;

/** @grpc/grpc-js; a connection for each call. */
export const callWithJs: GrpcCaller = async (address, method, asked = {}) => {
  const { messages = [""], size, count = 1, metadata = {}, deadlineMs, cancelAfter } = asked;
  const client = new GrpcEchoClient(address);
  try {
    const sent =
      size === undefined
        ? messages.map((text) => Buffer.from(text))
        : Array<Buffer>(count).fill(patternOf(size));
    const ended = await client.call(method, sent, {
      metadata: Object.fromEntries(
        Object.entries(metadata).map(([key, value]) => [
          key,
          key.endsWith("-bin") ? Buffer.from(value, "base64") : value,
        ]),
      ),
      ...(deadlineMs === undefined ? {} : { deadlineMs }),
      ...(cancelAfter === undefined ? {} : { cancelAfter }),
    });
    const digest = createHash("sha256");
    for (const message of ended.messages) digest.update(message);
    return {
      status: ended.status,
      details: ended.details,
      headers: plain(ended.headers),
      trailers: plain(ended.trailers),
      count: ended.messages.length,
      bytes: ended.messages.reduce((sum, { length }) => sum + length, 0),
      sha256: digest.digest("hex"),
    };
  } finally {
    client.close();
  }
};

/** python3-grpcio, which is gRPC's C core; a process for each call. */
export const callWithPython: GrpcCaller = async (address, method, asked = {}) => {
  const [ended] = await pythonCalls(address, method, asked);
  if (ended === undefined) throw new Error("grpc_peer.py made no call");
  return ended;
};

function plain(metadata: Metadata | undefined): Record<string, string> {
  const named: Record<string, string> = {};
  for (const key of Object.keys(metadata?.getMap() ?? {}))
    named[key] = (metadata?.get(key) ?? [])
      .map((value) => (typeof value === "string" ? value : value.toString("base64")))
      .join();
  return named;
}
