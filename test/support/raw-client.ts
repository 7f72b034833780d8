import net, { type Socket } from "node:net";
import type { Test } from "tap";
import { isEndedByReset } from "../../src/traffic/broken-socket.js";

/** Fails a wait that nothing will ever end; far above what any test needs. */
const patienceMs = 10_000;

/** Waits until `isTrue` holds, looking again whenever `changed` is called. */
export class Condition {
  #waiters: (() => void)[] = [];

  changed(): void {
    for (const waiter of [...this.#waiters]) waiter();
  }

  wait(what: string, isTrue: () => boolean): Promise<void> {
    if (isTrue()) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const done = (): void => {
        clearTimeout(timer);
        this.#waiters = this.#waiters.filter((waiter) => waiter !== look);
      };
      const look = (): void => {
        if (!isTrue()) return;
        done();
        resolve();
      };
      const timer = setTimeout(() => {
        done();
        reject(new Error(`waited in vain: ${what}`));
      }, patienceMs);
      this.#waiters.push(look);
    });
  }
}

/** One end of a connection that notes every byte it gets. */
export class RawPeer {
  readonly socket: Socket;
  readonly #chunks: Buffer[] = [];
  #bytes: Buffer | null = null;
  /** Bytes received. */
  size = 0;
  /** False: what comes is counted only. */
  isKept = true;
  /** FIN came. */
  isEnded = false;
  isClosed = false;
  /** Code of the socket's error, for example ECONNRESET. */
  error = "";
  /** Runs after each slice. */
  onData: (peer: this, chunk: Buffer) => void = () => {};
  readonly #condition = new Condition();

  constructor(socket: Socket) {
    this.socket = socket;
    socket.on("data", (chunk: Buffer) => {
      if (this.isKept) this.#chunks.push(chunk);
      this.#bytes = null;
      this.size += chunk.length;
      this.onData(this, chunk);
      this.#condition.changed();
    });
    socket.on("connect", () => this.#condition.changed());
    socket.on("end", () => {
      this.isEnded = true;
      if (isEndedByReset(socket)) this.error = "ECONNRESET";
      this.#condition.changed();
    });
    socket.on("error", (error: NodeJS.ErrnoException) => (this.error = error.code ?? error.message));
    socket.on("close", () => {
      this.isClosed = true;
      this.#condition.changed();
    });
  }

  get bytes(): Buffer {
    return (this.#bytes ??= Buffer.concat(this.#chunks));
  }

  get text(): string {
    return this.bytes.toString("latin1");
  }

  /** Ended by the other side, in whichever way. */
  get isOver(): boolean {
    return this.isEnded || this.isClosed;
  }

  write(data: string | Buffer): void {
    if (typeof data === "string") this.socket.write(data, "latin1");
    else this.socket.write(data);
  }

  wait(what: string, isTrue: () => boolean): Promise<void> {
    return this.#condition
      .wait(what, isTrue)
      .catch((error: Error) => Promise.reject(new Error(`${error.message}; got ${this.text.slice(0, 500)}`)));
  }

  /** Until the text contains `part`. */
  async gets(part: string): Promise<string> {
    await this.wait(JSON.stringify(part), () => this.text.includes(part));
    return this.text;
  }

  /** Until the other side has ended the connection; gives all it said. */
  async over(): Promise<string> {
    await this.wait("end of the connection", () => this.isOver);
    return this.text;
  }

  async closed(): Promise<string> {
    await this.wait("close of the connection", () => this.isClosed);
    return this.text;
  }
}

/** A client on a socket of its own; half-open, so that it can read on after it has ended its side. */
export function connect(t: Test, port: number): RawPeer {
  const socket = net.connect({ host: "127.0.0.1", port, noDelay: true, allowHalfOpen: true });
  t.teardown(() => socket.destroy());
  return new RawPeer(socket);
}

/** Sends all at once and gives what came until the other side ended the connection. */
export async function converse(t: Test, port: number, data: string | Buffer): Promise<string> {
  const client = connect(t, port);
  client.write(data);
  const text = await client.over();
  client.socket.destroy();
  return text;
}
