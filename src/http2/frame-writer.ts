import type { Socket } from "node:net";
import { flushAfterReading, type TurnOutput } from "../traffic/turn-flush.js";
import { ByteWriter } from "../traffic/byte-writer.js";
import { defaultFrameBytes, frameFlag, frameHeadBytes, frameType } from "./frame.js";

/** Collected bytes at which a flush does not wait for the end of the turn. */
const flushBytes = 64 * 1024;
const idleBytes = 2048;
/** DATA stops long before: whoever leaves so much unread asks for heads and does not read them. */
const maxOwedBytes = 1024 * 1024;
/** A TLS socket reports a write as done one turn later at the earliest; until then so much may be under way. */
const maxTlsQueuedBytes = 128 * 1024;

export interface FrameWriterOwner {
  /** The socket has room again after it was full. */
  writerHasRoom(): void;
  /** The peer leaves more than `maxOwedFrames` answers to its frames unread. */
  tooManyOwedFrames(): void;
}

/**
 * Builds the frames of one connection in one buffer and hands it to the socket once per event-loop turn: one system call,
 * one TLS record. DATA is copied into it: at 16 KiB a frame, a copy costs less than the buffers of its own write.
 */
export class FrameWriter implements TurnOutput {
  readonly #socket: Socket;
  readonly #owner: FrameWriterOwner;
  readonly #maxOwedFrames: number;
  readonly #maxQueuedBytes: number;
  readonly #out = new ByteWriter(idleBytes);
  #isScheduled = false;
  /** Answers that the kernel has not taken, as far as we know. */
  #owedFrames = 0;
  #owedBefore = 0;
  /** Counts the flushes: what was written since the last one can still be changed. */
  generation = 0;
  /** The socket is full: DATA waits. Other frames are written nevertheless. */
  isBlocked = false;

  constructor(socket: Socket, owner: FrameWriterOwner, maxOwedFrames: number) {
    this.#socket = socket;
    this.#owner = owner;
    this.#maxOwedFrames = maxOwedFrames;
    this.#maxQueuedBytes = "encrypted" in socket ? maxTlsQueuedBytes : 0;
    socket.on("drain", () => {
      if (!this.isBlocked) return;
      this.isBlocked = false;
      owner.writerHasRoom();
    });
  }

  /** Bytes as they are: the client's preface. */
  raw(bytes: Buffer): void {
    const out = this.#room(bytes.length);
    out.at += bytes.copy(out.bytes, out.at);
  }

  /** One DATA frame of at most 16 KiB. Gives its place for `endStream`. */
  data(streamId: number, bytes: Buffer, from: number, to: number): number {
    const length = to - from;
    const out = this.#room(frameHeadBytes + length);
    const place = out.at;
    this.#head(length, frameType.data, frameFlag.none, streamId);
    if (length > 0) out.at += bytes.copy(out.bytes, out.at, from, to);
    return place;
  }

  /** Sets END_STREAM in a frame that was not flushed yet: `generation` is what it was when the frame was written. */
  endStream(place: number): void {
    const bytes = this.#out.bytes;
    bytes[place + 4] = (bytes[place + 4] as number) | frameFlag.endStream;
  }

  /** Begins a HEADERS frame; the caller appends the header block to what it returns, then calls endHeaders. */
  beginHeaders(): ByteWriter {
    const out = this.#room(frameHeadBytes);
    out.at += frameHeadBytes;
    return out;
  }

  /** Completes the HEADERS frame whose block began at `blockAt`, in CONTINUATIONs if it is long. Gives its place. */
  endHeaders(streamId: number, blockAt: number, flags: number): number {
    const out = this.#out;
    const length = out.at - blockAt;
    const place = blockAt - frameHeadBytes;
    if (length <= defaultFrameBytes) {
      this.#headAt(place, length, frameType.headers, flags | frameFlag.endHeaders, streamId);
      return place;
    }
    const parts = Math.ceil(length / defaultFrameBytes);
    out.ensure((parts - 1) * frameHeadBytes);
    // From the last part on: each moves up to make room for the frame heads before it.
    for (let part = parts - 1; part >= 0; part--) {
      const from = blockAt + part * defaultFrameBytes;
      const size = Math.min(defaultFrameBytes, blockAt + length - from);
      const to = from + part * frameHeadBytes;
      out.bytes.copyWithin(to, from, from + size);
      const type = part === 0 ? frameType.headers : frameType.continuation;
      const end = part === parts - 1 ? frameFlag.endHeaders : frameFlag.none;
      this.#headAt(to - frameHeadBytes, size, type, part === 0 ? flags : end, streamId);
    }
    out.at += (parts - 1) * frameHeadBytes;
    return place;
  }

  /** Forgets a HEADERS frame that was begun. */
  dropHeaders(blockAt: number): void {
    this.#out.at = blockAt - frameHeadBytes;
  }

  settings(payload: Buffer): void {
    const out = this.#room(frameHeadBytes + payload.length);
    this.#head(payload.length, frameType.settings, frameFlag.none, 0);
    out.at += payload.copy(out.bytes, out.at);
  }

  settingsAck(): void {
    this.#room(frameHeadBytes);
    this.#head(0, frameType.settings, frameFlag.ack, 0);
    this.owe();
  }

  /** PING with eight bytes of zeros: one is under way at a time, so nothing need tell them apart. */
  ping(): void {
    const out = this.#room(frameHeadBytes + 8);
    this.#head(8, frameType.ping, frameFlag.none, 0);
    out.bytes.fill(0, out.at, out.at + 8);
    out.at += 8;
  }

  pingAck(bytes: Buffer, from: number): void {
    const out = this.#room(frameHeadBytes + 8);
    this.#head(8, frameType.ping, frameFlag.ack, 0);
    out.at += bytes.copy(out.bytes, out.at, from, from + 8);
    this.owe();
  }

  windowUpdate(streamId: number, increment: number): void {
    const out = this.#room(frameHeadBytes + 4);
    this.#head(4, frameType.windowUpdate, frameFlag.none, streamId);
    out.at = out.bytes.writeUInt32BE(increment, out.at);
  }

  rstStream(streamId: number, code: number): void {
    const out = this.#room(frameHeadBytes + 4);
    this.#head(4, frameType.rstStream, frameFlag.none, streamId);
    out.at = out.bytes.writeUInt32BE(code, out.at);
    this.owe();
  }

  goaway(lastStreamId: number, code: number, debug: string): void {
    const text = Buffer.from(debug, "latin1");
    const out = this.#room(frameHeadBytes + 8 + text.length);
    this.#head(8 + text.length, frameType.goaway, frameFlag.none, 0);
    out.at = out.bytes.writeUInt32BE(lastStreamId, out.at);
    out.at = out.bytes.writeUInt32BE(code, out.at);
    out.at += text.copy(out.bytes, out.at);
  }

  /** The frame just written answers one of the peer's. */
  owe(): void {
    const isUnread = this.#socket.writableLength + this.#out.at > maxOwedBytes;
    if (++this.#owedFrames > this.#maxOwedFrames || isUnread) this.#owner.tooManyOwedFrames();
  }

  /** Hands everything to the socket now. */
  flush(): void {
    const out = this.#out;
    const size = out.at;
    if (size === 0) return;
    this.generation++;
    const socket = this.#socket;
    if (!socket.writable) {
      out.at = 0;
      return;
    }
    const isTls = this.#maxQueuedBytes > 0;
    const wasEmpty = socket.writableLength === 0 && !socket.connecting;
    // All before this turn is with the kernel: only the answers of this turn are unread for sure.
    if (wasEmpty) this.#owedFrames -= this.#owedBefore;
    this.#owedBefore = this.#owedFrames;
    const hasRoom = socket.write(size === out.bytes.length ? out.bytes : out.bytes.subarray(0, size));
    out.at = 0;
    // TLS encrypts before write() returns, unless an earlier write is still under way; TCP may have taken a part only.
    const isTaken = isTls ? wasEmpty : socket.writableLength === 0;
    if (!isTaken) out.bytes = Buffer.allocUnsafeSlow(out.bytes.length);
    if (!hasRoom && socket.writableLength > this.#maxQueuedBytes) this.isBlocked = true;
  }

  /** Gives back memory; for a connection without streams. */
  shrink(): void {
    if (this.#out.at === 0 && this.#out.bytes.length > idleBytes) {
      this.#out.bytes = Buffer.allocUnsafeSlow(idleBytes);
    }
  }

  /** Only for turn-flush. */
  runScheduled(): void {
    this.#isScheduled = false;
    this.flush();
  }

  /** The buffer, with room for `count` bytes; its flush is scheduled. */
  #room(count: number): ByteWriter {
    const out = this.#out;
    if (out.at + count > flushBytes) this.flush();
    out.ensure(count);
    if (!this.#isScheduled) {
      this.#isScheduled = true;
      flushAfterReading(this);
    }
    return out;
  }

  #head(length: number, type: number, flags: number, streamId: number): void {
    this.#headAt(this.#out.at, length, type, flags, streamId);
    this.#out.at += frameHeadBytes;
  }

  #headAt(at: number, length: number, type: number, flags: number, streamId: number): void {
    const bytes = this.#out.bytes;
    bytes[at] = length >>> 16;
    bytes[at + 1] = length >>> 8;
    bytes[at + 2] = length;
    bytes[at + 3] = type;
    bytes[at + 4] = flags;
    bytes[at + 5] = streamId >>> 24;
    bytes[at + 6] = streamId >>> 16;
    bytes[at + 7] = streamId >>> 8;
    bytes[at + 8] = streamId;
  }
}
