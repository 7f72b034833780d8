import net, { type AddressInfo, type Server } from "node:net";
import type { Test } from "tap";
import { Condition, RawPeer } from "./raw-client.js";

/** What an upstream does with a connection: usually sets `onData`. */
export type Script = (peer: RawPeer, index: number) => void;

/** A server that keeps every byte it gets and answers from a script. */
export class ByteUpstream {
  readonly #server: Server;
  readonly connections: RawPeer[] = [];
  readonly #condition = new Condition();
  script: Script;

  private constructor(server: Server, script: Script) {
    this.#server = server;
    this.script = script;
    server.on("connection", (socket) => {
      socket.setNoDelay(true);
      const peer = new RawPeer(socket);
      this.script(peer, this.connections.push(peer) - 1);
      socket.on("data", () => this.#condition.changed());
      socket.on("end", () => this.#condition.changed());
      socket.on("close", () => this.#condition.changed());
      this.#condition.changed();
    });
  }

  static async open(t: Test, script: Script = answer()): Promise<ByteUpstream> {
    const server = net.createServer({ allowHalfOpen: true });
    const upstream = new ByteUpstream(server, script);
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    t.teardown(() => upstream.close());
    return upstream;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** All bytes of all connections. */
  get text(): string {
    return this.connections.map((peer) => peer.text).join("");
  }

  get size(): number {
    return this.connections.reduce((sum, peer) => sum + peer.size, 0);
  }

  /** Connections that the other side has not ended. */
  get open(): number {
    return this.connections.filter((peer) => !peer.isOver).length;
  }

  wait(what: string, isTrue: () => boolean): Promise<void> {
    return this.#condition.wait(what, isTrue);
  }

  async connection(index: number): Promise<RawPeer> {
    await this.wait(`connection ${index}`, () => this.connections.length > index);
    return this.connections[index] as RawPeer;
  }

  close(): void {
    for (const peer of this.connections) peer.socket.destroy();
    this.#server.close();
  }
}

export const okText = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/** Answers each request head as soon as it is there; bodies are not looked at. */
export function answer(reply: string | ((head: string) => string) = okText): Script {
  return (peer) => {
    let rest = "";
    peer.onData = (_, chunk) => {
      const heads = (rest + chunk.toString("latin1")).split("\r\n\r\n");
      rest = heads.pop() as string;
      for (const head of heads) peer.write(typeof reply === "string" ? reply : reply(head));
    };
  };
}

/** Runs once, when all of `part` has come; then `after` gets whatever follows. */
export function once(part: string, act: (peer: RawPeer) => void): Script {
  return (peer) => {
    let isDone = false;
    peer.onData = () => {
      if (isDone || !peer.text.includes(part)) return;
      isDone = true;
      act(peer);
    };
  };
}
