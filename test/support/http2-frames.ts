/** HTTP/2 by hand: frames as they are written here, right or wrong, and what came back. */
import { Duplex } from "node:stream";
import net, { type AddressInfo, type Socket } from "node:net";
import type { Test } from "tap";
import { clientPreface, errorCodeName, frameFlag, frameType } from "../../src/http2/frame.js";
import { HpackDecoder } from "../../src/http2/hpack-decoder.js";
import { eventually } from "./eventually.js";

export { clientPreface, frameFlag, frameType };

export interface Frame {
  readonly type: number;
  readonly flags: number;
  readonly streamId: number;
  readonly payload: Buffer;
}

const nothing = Buffer.alloc(0);

/** One frame. `length` lies about the size of the payload. */
export function frame(
  type: number,
  flags: number,
  streamId: number,
  payload: Buffer = nothing,
  length = payload.length,
): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(streamId, 5);
  return Buffer.concat([head, payload]);
}

/** Fields as literals without indexing and without Huffman coding (RFC 7541 §6.2.2). */
export function block(fields: Readonly<Record<string, string>> | readonly string[]): Buffer {
  const flat = Array.isArray(fields) ? (fields as readonly string[]) : Object.entries(fields).flat();
  const parts: Buffer[] = [];
  for (let i = 0; i < flat.length; i += 2) {
    parts.push(Buffer.from([0]), text(flat[i] as string), text(flat[i + 1] as string));
  }
  return Buffer.concat(parts);
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value, "latin1");
  if (bytes.length < 127) return Buffer.concat([Buffer.from([bytes.length]), bytes]);
  const length = [127];
  let rest = bytes.length - 127;
  for (; rest >= 128; rest >>= 7) length.push((rest & 127) | 128);
  return Buffer.concat([Buffer.from([...length, rest]), bytes]);
}

export const get = { ":method": "GET", ":scheme": "http", ":authority": "api.mesh", ":path": "/" };
export const post = { ...get, ":method": "POST" };

const word = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
};

export const settings = (...pairs: readonly (readonly [id: number, value: number])[]): Buffer =>
  frame(
    frameType.settings,
    0,
    0,
    Buffer.concat(pairs.map(([id, value]) => Buffer.concat([Buffer.from([id >> 8, id & 255]), word(value)]))),
  );
export const settingsAck = frame(frameType.settings, frameFlag.ack, 0);
/** HEADERS with END_HEADERS. */
export const headers = (
  streamId: number,
  fields: Readonly<Record<string, string>> | readonly string[],
  flags = 0,
): Buffer => frame(frameType.headers, flags | frameFlag.endHeaders, streamId, block(fields));
export const data = (streamId: number, payload: string | Buffer, flags = 0): Buffer =>
  frame(frameType.data, flags, streamId, Buffer.from(payload as string));
export const rst = (streamId: number, code: number): Buffer =>
  frame(frameType.rstStream, 0, streamId, word(code));
export const ping = (flags = 0): Buffer => frame(frameType.ping, flags, 0, Buffer.alloc(8, 7));
export const windowUpdate = (streamId: number, increment: number): Buffer =>
  frame(frameType.windowUpdate, 0, streamId, word(increment));
export const goaway = (lastStreamId: number, code = 0): Buffer =>
  frame(frameType.goaway, 0, 0, Buffer.concat([word(lastStreamId), word(code)]));
export const priority = (streamId: number, on: number): Buffer =>
  frame(frameType.priority, 0, streamId, Buffer.concat([word(on), Buffer.from([1])]));
export const endStream = frameFlag.endStream;

/** Preface and settings of a client. */
export const hello = Buffer.concat([clientPreface, settings()]);

/** Cuts bytes into frames; `skip` bytes at the beginning are a preface. */
export class FrameCutter {
  readonly frames: Frame[] = [];
  #rest: Buffer = nothing;
  #skip: number;

  constructor(skip = 0) {
    this.#skip = skip;
  }

  push(chunk: Buffer): void {
    this.#rest = Buffer.concat([this.#rest, chunk]);
    if (this.#skip > 0 && this.#rest.length >= this.#skip) {
      this.#rest = this.#rest.subarray(this.#skip);
      this.#skip = 0;
    }
    while (this.#skip === 0 && this.#rest.length >= 9) {
      const length = this.#rest.readUIntBE(0, 3);
      if (this.#rest.length < 9 + length) return;
      const [type, flags] = [this.#rest[3] as number, this.#rest[4] as number];
      const streamId = this.#rest.readUInt32BE(5);
      this.frames.push({ type, flags, streamId, payload: Buffer.from(this.#rest.subarray(9, 9 + length)) });
      this.#rest = this.#rest.subarray(9 + length);
    }
  }
}

/** The frames that matter in words: `HEADERS 1 200 END`, `DATA 1 5 END`, `RST 1 CANCEL`, `GOAWAY 0 NO_ERROR`. */
export function describe(frames: readonly Frame[], decoder: HpackDecoder): string[] {
  return frames.flatMap(({ type, flags, streamId, payload }) => {
    const end = (flags & endStream) !== 0 ? " END" : "";
    switch (type) {
      case frameType.headers: {
        const fields: string[] = [];
        decoder.decode(payload, 0, payload.length, fields, 1e6, 1e4);
        const name = fields.indexOf(":status") < 0 ? ":method" : ":status";
        const at = fields.indexOf(name);
        return [`HEADERS ${streamId} ${at < 0 ? fields.join(",") : fields[at + 1]}${end}`];
      }
      case frameType.data:
        return [`DATA ${streamId} ${payload.length}${end}`];
      case frameType.rstStream:
        return [`RST ${streamId} ${errorCodeName(payload.readUInt32BE(0))}`];
      case frameType.goaway:
        return [`GOAWAY ${payload.readUInt32BE(0)} ${errorCodeName(payload.readUInt32BE(4))}`];
      case frameType.ping:
        return [(flags & frameFlag.ack) !== 0 ? "PING ACK" : "PING"];
      case frameType.settings:
        return [];
      case frameType.windowUpdate:
        return [`WINDOW ${streamId} ${payload.readUInt32BE(0)}`];
      default:
        return [`TYPE ${type}`];
    }
  });
}

/** One side of a connection, played by the test on a real socket. */
export class FramePeer {
  readonly socket: Socket;
  readonly cutter: FrameCutter;
  readonly #decoder = new HpackDecoder(4096);
  readonly #words: string[] = [];
  #described = 0;
  isClosed = false;

  constructor(socket: Socket, skip = 0) {
    this.socket = socket;
    this.cutter = new FrameCutter(skip);
    socket.on("data", (chunk: Buffer) => this.cutter.push(chunk));
    socket.on("error", () => {});
    socket.on("end", () => void (this.isClosed = true));
    socket.on("close", () => void (this.isClosed = true));
  }

  /** A client that has said hello. */
  static connect(t: Test, port: number, first: Buffer = hello): FramePeer {
    const socket = net.connect({ port, host: "127.0.0.1", noDelay: true, allowHalfOpen: true });
    t.teardown(() => socket.destroy());
    const peer = new FramePeer(socket);
    peer.send(first);
    return peer;
  }

  send(...frames: readonly Buffer[]): this {
    this.socket.write(Buffer.concat(frames));
    return this;
  }

  get frames(): readonly Frame[] {
    return this.cutter.frames;
  }

  /** What came so far, in words; without window updates. */
  get words(): readonly string[] {
    const fresh = this.frames.slice(this.#described);
    this.#described = this.frames.length;
    this.#words.push(...describe(fresh, this.#decoder).filter((line) => !line.startsWith("WINDOW")));
    return this.#words;
  }

  /** Until such a line has come; gives all of them. */
  async gets(line: string | RegExp): Promise<readonly string[]> {
    await eventually(`${String(line)} among ${this.words.join("; ")}`, () =>
      this.words.some((word) => (typeof line === "string" ? word === line : line.test(word))),
    );
    return this.words;
  }

  /** Until everything sent so far was worked on: answers are in `words`. */
  async settled(): Promise<readonly string[]> {
    const count = (): number => this.words.filter((word) => word === "PING ACK").length;
    const before = count();
    this.send(ping());
    await eventually("PING ACK or the end", () => count() > before || this.isClosed);
    return this.words.filter((word) => word !== "PING ACK");
  }

  async closed(): Promise<readonly string[]> {
    await eventually("the end", () => this.isClosed);
    return this.words;
  }

  /** Bytes of DATA that came on a stream. */
  bytesOf(streamId: number): number {
    return this.frames
      .filter((frame) => frame.type === frameType.data && frame.streamId === streamId)
      .reduce((bytes, { payload }) => bytes + payload.length, 0);
  }
}

/** A server of frames; each connection is handed to `onPeer` when it is accepted. */
export async function listenFrames(t: Test, onPeer: (peer: FramePeer) => void): Promise<number> {
  const server = net.createServer({ noDelay: true }, (socket) => {
    t.teardown(() => socket.destroy());
    onPeer(new FramePeer(socket, clientPreface.length));
  });
  await new Promise<void>((resolve) => void server.listen(0, "127.0.0.1", resolve));
  t.teardown(() => server.close());
  return (server.address() as AddressInfo).port;
}

/** A socket in memory: what is pushed in arrives, what is written is kept. */
export class MemorySocket extends Duplex {
  readonly cutter: FrameCutter;
  readonly remoteAddress = "127.0.0.1";
  readonly remotePort = 1;
  readonly connecting = false;

  constructor(skip = 0) {
    super({ allowHalfOpen: true });
    this.cutter = new FrameCutter(skip);
  }

  setNoDelay(): this {
    return this;
  }

  override _read(): void {}

  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.cutter.push(Buffer.from(chunk));
    done();
  }

  get asSocket(): Socket {
    return this as unknown as Socket;
  }
}
