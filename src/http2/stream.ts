import { ProxyError } from "../errors/proxy-error.js";
import type { ReceiveCredit } from "./receive-credit.js";
import type { SendQueue } from "./send-queue.js";
import type { InputHost, StreamInput } from "./stream-input.js";
import type { OutputHost, StreamOutput } from "./stream-output.js";

/** What a stream needs from its connection. */
export interface StreamConnection {
  readonly sendQueue: SendQueue;
  readonly credit: ReceiveCredit;
  /** Takes a stream that is over out of the table; with a code, RST_STREAM is written. */
  dropStream(stream: Http2Stream, code: number | null): void;
  writeTrailers(streamId: number, trailers: readonly string[]): void;
}

/**
 * One stream (RFC 9113 §5.1): a request and its response. It is in the table of its connection until both directions have
 * ended or one side has reset it.
 */
export abstract class Http2Stream implements InputHost, OutputHost {
  id: number;
  /** Monotonic milliseconds. */
  readonly openedAtMs: number;
  sendWindow: number;
  /** END_STREAM has not come; not set by whoever resets. */
  isReceiving = true;
  /** END_STREAM was not sent. */
  isSending = true;
  /** Out of the table: nothing may be written on it any more. */
  isClosed = false;
  /** Bytes passed since it was last looked at, and when it was last found so. For the idle timer. */
  isActive = true;
  activeAtMs: number;
  /** The body that comes and the body that goes; null while or when there is none. */
  input: StreamInput | null = null;
  output: StreamOutput | null = null;
  readonly connection: StreamConnection;

  constructor(connection: StreamConnection, id: number, sendWindow: number, nowMs: number) {
    this.connection = connection;
    this.id = id;
    this.sendWindow = sendWindow;
    this.openedAtMs = nowMs;
    this.activeAtMs = nowMs;
  }

  /** END_STREAM came; the body, if there is one, has been told. */
  abstract inputEnded(): void;
  /** DATA came that no body takes: before a response head, or where there is none. */
  abstract unexpectedData(): void;
  /** The peer sent RST_STREAM. */
  abstract peerReset(code: number): void;
  /** What the peer sent on this stream is wrong: resets it. */
  abstract violated(code: number, detail: string): void;
  /** The connection is gone, or will not carry this stream to its end. */
  abstract lost(error: ProxyError): void;
  /** No byte in either direction for too long. */
  abstract idle(error: ProxyError): void;
  /** A tunnel: its silence is not judged here. */
  abstract readonly isTunnel: boolean;
  abstract received(bytes: number): void;

  abstract inputCancelled(error: ProxyError): void;
  abstract inputDelivered(): void;
  abstract outputWrote(bytes: number): void;
  abstract outputDone(): void;
  abstract outputFailed(error: ProxyError): void;

  writeTrailers(trailers: readonly string[]): boolean {
    try {
      this.connection.writeTrailers(this.id, trailers);
      return true;
    } catch (error) {
      this.failed(headError(error));
      return false;
    }
  }

  /** We cannot go on with it. */
  protected abstract failed(error: ProxyError): void;

  /** Takes it out of the table; nothing is told to the bodies. False: it was out already. */
  protected close(code: number | null): boolean {
    if (this.isClosed) return false;
    this.isClosed = true;
    this.isReceiving = false;
    this.isSending = false;
    this.connection.dropStream(this, code);
    return true;
  }
}

/** The error of a head or trailers that could not be read or written. */
export function headError(error: unknown): ProxyError {
  if (error instanceof ProxyError) return error;
  return new ProxyError("internal", "unexpected failure in an HTTP/2 head", { cause: error });
}
