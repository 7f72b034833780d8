import type { Socket } from "node:net";
import type { Clock } from "../time/clock.js";
import type { TimerTarget, TimerWheel, WheelTimer } from "../time/timer-wheel.js";
import { turnOfLoop } from "../traffic/turn-flush.js";
import { FrameWriter, type FrameWriterOwner } from "./frame-writer.js";
import type { Http2Limits, LimitMeter } from "./limits.js";

/** What both sides of a connection are made of. */
export interface Http2LinkOptions {
  readonly limits: Http2Limits;
  readonly clock: Clock;
  readonly wheel: TimerWheel;
  readonly isMesh: boolean;
  readonly onLimit: LimitMeter;
}

/** What the reads of one connection may take of a turn of the event loop: some tens of requests. */
const maxReadingMs = 1;
/** What is still read from a peer that was told that the connection is over. */
const maxSwallowedBytes = 256 * 1024;

/**
 * The socket of an HTTP/2 connection, its one timer, its signs of life (RFC 9113 §6.7) and its end. Knows nothing of frames
 * but how to write them.
 */
export abstract class Http2Link implements FrameWriterOwner, TimerTarget {
  readonly limits: Http2Limits;
  /** Monotonic milliseconds of the last read or look. */
  nowMs: number;
  protected readonly socket: Socket;
  protected readonly options: Http2LinkOptions;
  protected readonly writer: FrameWriter;
  protected timer: WheelTimer;
  /** closing: GOAWAY and FIN are on their way, nothing that comes matters. */
  protected state: "open" | "closing" | "closed" = "open";
  #readAtMs: number;
  /** When the last PING was sent that nothing came after; -1: none. */
  #pingAtMs = -1;
  #swallowedBytes = 0;
  #readingMs = 0;
  /** The turn in which `#readingMs` was spent. */
  #turn = 0;

  constructor(socket: Socket, options: Http2LinkOptions, firstLookMs: number) {
    this.socket = socket;
    this.options = options;
    this.limits = options.limits;
    this.nowMs = options.clock.monotonicMs();
    this.#readAtMs = this.nowMs;
    this.writer = new FrameWriter(socket, this, options.limits.maxOwedFrames);
    this.timer = options.wheel.add(firstLookMs, this);
    socket.setNoDelay(true);
    socket.on("data", (chunk: Buffer) => this.read(chunk));
    socket.on("end", () => this.peerEnded());
    socket.on("error", (error: NodeJS.ErrnoException) => this.drop(error));
    socket.on("close", () => this.drop(null));
    // Reset before it was handed over: its events are past.
    if (socket.destroyed) setImmediate(() => this.drop(null));
  }

  /** How long what still comes is swallowed after our FIN. */
  protected abstract readonly lingerMs: number;
  /** Must not throw. */
  protected abstract readFrames(chunk: Buffer): void;
  abstract writerHasRoom(): void;
  abstract tooManyOwedFrames(): void;
  /** Nothing will be sent or read any more; the streams that are left end now. Told once. */
  protected abstract ends(cause: NodeJS.ErrnoException | null): void;
  /** The socket is gone. Told once, after `ends`. */
  protected abstract socketClosed(): void;
  protected abstract peerEnded(): void;
  /** Does what is due; gives the milliseconds until the next look, 0 = none. */
  protected abstract look(nowMs: number): number;

  protected read(chunk: Buffer): void {
    if (this.state !== "open") return this.#swallow(chunk.length);
    this.nowMs = this.options.clock.monotonicMs();
    this.#readAtMs = this.nowMs;
    this.#pingAtMs = -1;
    this.readFrames(chunk);
    this.#letOthersRead(this.options.clock.monotonicMs() - this.nowMs);
  }

  /**
   * Sends what is queued, and FIN. Then swallows what still comes: a reset would destroy what was not read yet.
   *
   * @param patienceMs for a slow reader to take what is queued; lingerMs runs from when all is with the kernel.
   */
  protected close(patienceMs: number): void {
    if (this.state !== "open") return;
    this.state = "closing";
    this.ends(null);
    this.writer.flush();
    this.timer.restart(patienceMs);
    this.socket.end(() => {
      if (this.state === "closing") this.timer.restart(this.lingerMs);
    });
    this.socket.resume();
  }

  /** The socket broke, or is given up. */
  protected drop(cause: NodeJS.ErrnoException | null): void {
    if (this.state === "closed") return;
    const wasOpen = this.state === "open";
    this.state = "closed";
    this.timer.cancel();
    this.socket.destroy();
    if (wasOpen) this.ends(cause);
    this.socketClosed();
  }

  /**
   * After a read that took so long. A socket is read up to 32 times in one turn of the event loop: where a peer makes its bytes
   * expensive, it would keep that for itself, so it pauses until the next turn.
   */
  #letOthersRead(tookMs: number): void {
    const turn = turnOfLoop();
    this.#readingMs = turn === this.#turn ? this.#readingMs + tookMs : tookMs;
    this.#turn = turn;
    if (this.#readingMs <= maxReadingMs) return;
    this.#readingMs = 0;
    this.socket.pause();
    setImmediate(() => this.socket.resume());
  }

  onTimer(): void {
    if (this.state === "closed") return;
    if (this.state === "closing") return this.drop(null);
    this.nowMs = this.options.clock.monotonicMs();
    const nextMs = this.look(this.nowMs);
    if (nextMs > 0 && this.state === "open") this.timer.restart(nextMs);
  }

  /**
   * For `look` while streams are open: a peer that has been silent for `pingMs` is asked for a sign of life. Gives the
   * milliseconds until the next look.
   */
  protected lookForLife(nowMs: number): number {
    const { pingMs } = this.limits;
    const isAsked = this.#pingAtMs >= 0;
    const silentMs = nowMs - (isAsked ? this.#pingAtMs : this.#readAtMs);
    if (silentMs < pingMs) return pingMs - silentMs;
    if (isAsked) {
      this.options.onLimit("ping_timeout");
      this.drop(Object.assign(new Error("no answer to PING"), { code: "ETIMEDOUT" }));
      return 0;
    }
    this.#pingAtMs = nowMs;
    this.writer.ping();
    return pingMs;
  }

  #swallow(bytes: number): void {
    this.#swallowedBytes += bytes;
    if (this.#swallowedBytes > maxSwallowedBytes) this.drop(null);
  }
}
