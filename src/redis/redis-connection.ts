import type { Clock } from "../time/clock.js";

/** One connection to a Redis server: ready, and not opened anew when it is lost. */
export interface RedisConnection {
  /** Sends a command; commands are answered in their order. Rejects with RedisReplyError for an error reply. */
  send(args: readonly string[]): Promise<unknown>;
  /** Closes at once; what was not answered is rejected. */
  destroy(): void;
}

/** Redis understood the command and refused it. */
export class RedisReplyError extends Error {
  override readonly name = "RedisReplyError";
}

export interface ConnectOptions {
  /** redis://[user:password@]host[:port][/database], or rediss:// for TLS. */
  readonly url: string;
  /** For the whole of it, until the server has answered. */
  readonly timeoutMs: number;
  readonly clock: Clock;
  /** The connection is gone; comes at most once, and not after destroy. */
  readonly onLost: (error: Error) => void;
}

/** Commands without an answer: many more than anybody waits for at once. */
const maxQueued = 10_000;

/** Opens a connection. The client is loaded by the first: most sidecars never need it. Rejects within the timeout. */
export async function connectRedis(options: ConnectOptions): Promise<RedisConnection> {
  const { url, timeoutMs, clock, onLost } = options;
  const { createClient, ErrorReply } = await import("@redis/client");
  const client = createClient({
    url,
    // Every server that has scripts speaks it.
    RESP: 2,
    disableOfflineQueue: true,
    commandsQueueMaxLength: maxQueued,
    socket: { connectTimeout: timeoutMs, reconnectStrategy: false },
  });
  let isReady = false;
  const destroy = (): void => {
    isReady = false;
    if (client.isOpen) client.destroy();
  };
  client.on("error", (error: Error) => {
    if (!isReady) return;
    isReady = false;
    onLost(error);
  });
  // A server that hangs is connected to by its kernel, so that only an answer proves it.
  const answer = client.connect().then(() => client.sendCommand(["PING"]));
  try {
    await within(answer, timeoutMs, clock);
  } catch (error) {
    destroy();
    throw error;
  }
  isReady = true;
  return {
    async send(args) {
      try {
        return await client.sendCommand([...args]);
      } catch (error) {
        throw error instanceof ErrorReply ? new RedisReplyError(error.message, { cause: error }) : error;
      }
    },
    destroy,
  };
}

function within<T>(promise: Promise<T>, timeoutMs: number, clock: Clock): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = clock.timer(timeoutMs, () => reject(new Error(`no answer within ${timeoutMs} ms`)));
    promise.then(resolve, reject).finally(() => timer.cancel());
  });
}
