import { Socket, type SocketConstructorOpts } from "node:net";

/** As much as node reads at once. */
const shared = Buffer.allocUnsafeSlow(64 * 1024);

/**
 * A plain TCP socket that reads into one buffer of the process. Node would take a buffer of 64 KiB for each read and shrink
 * it to what came: for small messages that and the queue of its streams are a quarter of all that a request costs.
 *
 * "data" has a copy of what came, unless the one listener has set `lendsChunks`.
 */
export class SharedReadSocket extends Socket {
  /** The chunk of "data" is lent: after the event it is overwritten. For a listener that keeps nothing of it. */
  lendsChunks = false;

  constructor(options: SocketConstructorOpts = {}) {
    const callback = (size: number): boolean => {
      const chunk = shared.subarray(0, size);
      this.emit("data", this.lendsChunks ? chunk : Buffer.from(chunk));
      return true;
    };
    super({ ...options, onread: { buffer: shared, callback } } as SocketConstructorOpts);
  }
}

/**
 * Moves a connection that was just accepted, and that nobody listens to yet, to a socket with a shared buffer. The accepted
 * one stays behind without its connection, and closes with it. Gives the socket itself when it cannot be moved: its handle
 * is not a documented property.
 */
export function shareReads(accepted: Socket): Socket {
  const carrier = accepted as { _handle?: unknown };
  const handle = carrier._handle;
  if (handle === undefined || handle === null || accepted.destroyed || accepted.readableLength > 0)
    return accepted;
  carrier._handle = null;
  const socket = new SharedReadSocket({
    handle,
    allowHalfOpen: accepted.allowHalfOpen,
  } as SocketConstructorOpts);
  // Whoever counts the accepted connections waits for its end.
  socket.once("close", () => accepted.destroy());
  return socket;
}
