/**
 * A whole hop in memory: server connection, error replies, client connections, as the sidecar composes them, on sockets without a
 * kernel and a clock that the script drives.
 */
import { ProxyError } from "../../src/errors/proxy-error.js";
import { Http1ClientConnection } from "../../src/http1/client-connection.js";
import { http1Limits } from "../../src/http1/limits.js";
import { Http1ServerConnection } from "../../src/http1/server-connection.js";
import { Http2ClientConnection } from "../../src/http2/client-connection.js";
import { http2Limits } from "../../src/http2/limits.js";
import { Http2ServerConnection } from "../../src/http2/server-connection.js";
import { tunnelIdle } from "../../src/policy/tunnel-idle.js";
import { errorReply } from "../../src/proxy/local-reply.js";
import { rescue } from "../../src/proxy/rescue.js";
import type { RequestContext } from "../../src/stack/request-context.js";
import type { ServerTimeouts } from "../../src/stack/server-timeouts.js";
import { stack, type Call, type Layer, type Reply, type Service } from "../../src/stack/service.js";
import { TimerWheel } from "../../src/time/timer-wheel.js";
import { FakeClock } from "../support/fake-clock.js";
import { promise } from "./fuzz-target.js";
import { MemorySocket } from "./memory-socket.js";

export interface RelayKind {
  readonly client: "1" | "2";
  readonly upstream: "1" | "2";
}

const timeouts: ServerTimeouts = { headMs: 300, idleMs: 400, streamIdleMs: 500, lingerMs: 100 };
const limits2 = { ...http2Limits, goawayGraceMs: 100, pingMs: 200, minStreamsForResets: 20 };
const tunnelIdleMs = 500;
/** Well above the sum of all timers that can follow one another. */
const patienceMs = 5000;
const stepMs = 100;

/** A connection to the upstream, and what was sent by it. */
export interface UpstreamLink {
  readonly socket: MemorySocket;
  requests: number;
  readonly connection: Http1ClientConnection | Http2ClientConnection;
}

export class Relay {
  readonly client: MemorySocket;
  readonly links: UpstreamLink[] = [];
  /** Of every call, in order: `200`, `502 upstream_reset` ... */
  readonly outcomes: string[] = [];
  readonly requests: RequestContext[] = [];
  readonly limits = new Set<string>();
  readonly #clock = new FakeClock();
  readonly #wheel = new TimerWheel(this.#clock);
  readonly #kind: RelayKind;
  readonly #isSlow: boolean;
  readonly #idle: UpstreamLink[] = [];
  #active = 0;
  #closed = 0;

  constructor(kind: RelayKind, isSlow: boolean) {
    this.#kind = kind;
    this.#isSlow = isSlow;
    this.client = new MemorySocket(isSlow);
    const idle = tunnelIdle({ idleMs: tunnelIdleMs, source: "fuzz", wheel: this.#wheel, clock: this.#clock });
    const options = {
      service: stack([this.#counted, rescue, idle, checked], {
        call: (request, reply) => this.#send(request, reply),
      }),
      ...{ clock: this.#clock, wheel: this.#wheel, timeouts, peerId: undefined },
      refuse: (error: ProxyError) => errorReply(error),
      onClose: () => void this.#closed++,
    };
    const { asSocket } = this.client;
    if (kind.client === "1") new Http1ServerConnection(asSocket, { ...options, limits: http1Limits });
    else
      new Http2ServerConnection(asSocket, {
        ...options,
        limits: limits2,
        isMesh: false,
        onLimit: this.#onLimit,
      });
  }

  /** The socket that the upstream speaks on: of the newest connection. */
  get upstream(): MemorySocket | undefined {
    return this.links.at(-1)?.socket;
  }

  /** Lets time pass, in steps: what becomes due may start other timers. */
  async pass(ms: number): Promise<void> {
    for (let at = 0; at < ms; at += stepMs) {
      this.#clock.advance(stepMs);
      await turn();
    }
  }

  /** Nobody does anything any more: everything must come to its end by the timers alone. */
  async settle(): Promise<void> {
    for (let passed = 0; passed < patienceMs && (this.#closed === 0 || this.#active > 0); passed += stepMs)
      await this.pass(stepMs);
    await turn();
    promise(this.#closed === 1, () => `the connection of the client was closed ${this.#closed} times`);
    promise(this.client.destroyed, () => "the socket of the client is still open");
    promise(this.#active === 0, () => `${this.#active} calls never ended`);
    for (const { error } of this.requests)
      if (error?.code === "internal") throw error.cause instanceof Error ? error.cause : error;
    for (const { connection } of this.links) connection.destroy(new ProxyError("draining", "the end"));
    await turn();
    for (const { socket } of this.links)
      promise(socket.destroyed, () => "a socket of the upstream is still open");
  }

  readonly #onLimit = (limit: string): void => void this.limits.add(limit);

  #send(request: RequestContext, reply: Reply): Call {
    const link = this.#kind.upstream === "1" ? this.#link1() : this.#link2();
    link.requests++;
    return link.connection.send(request, reply);
  }

  #link1(): UpstreamLink {
    const free = this.#idle.pop();
    if (free !== undefined) return free;
    const socket = new MemorySocket(this.#isSlow);
    const find = (): UpstreamLink => this.links.find((link) => link.socket === socket) as UpstreamLink;
    const connection = new Http1ClientConnection(socket.asSocket, "upstream", http1Limits, {
      connectionIdle: () => void this.#idle.push(find()),
      connectionClosed: () => {
        const at = this.#idle.indexOf(find());
        if (at >= 0) this.#idle.splice(at, 1);
      },
    });
    return this.#add(socket, connection);
  }

  #link2(): UpstreamLink {
    const last = this.links.at(-1);
    if (last !== undefined && last.connection instanceof Http2ClientConnection && last.connection.canSend)
      return last;
    const socket = new MemorySocket(this.#isSlow);
    const connection = new Http2ClientConnection(socket.asSocket, {
      ...{ peer: "upstream", limits: limits2, clock: this.#clock, wheel: this.#wheel, isMesh: false },
      onLimit: this.#onLimit,
      owner: { connectionFree: () => {}, connectionDraining: () => {}, connectionClosed: () => {} },
    });
    return this.#add(socket, connection);
  }

  #add(socket: MemorySocket, connection: UpstreamLink["connection"]): UpstreamLink {
    const link: UpstreamLink = { socket, connection, requests: 0 };
    this.links.push(link);
    return link;
  }

  readonly #counted: Layer = (inner: Service) => ({
    call: (request, reply) => {
      const index = this.outcomes.push("pending") - 1;
      this.requests.push(request);
      this.#active++;
      const ended = (status: number, error: ProxyError | null): void => {
        this.#active--;
        this.outcomes[index] = `${status} ${(error ?? request.error)?.code ?? ""}`;
      };
      return inner.call(request, checkedReply(reply, ended));
    },
  });
}

/** What the transports promise; `rescue` above them would hide some of it. */
const checked: Layer = (inner) => ({
  call: (request, reply) =>
    inner.call(
      request,
      checkedReply(reply, () => {}),
    ),
});

/** The contract of Reply: informational*, head?, end; end once and last. */
function checkedReply(reply: Reply, ended: (status: number, error: ProxyError | null) => void): Reply {
  let [status, isEnded] = [0, false];
  return {
    informational: (head) => {
      promise(status === 0 && !isEnded, () => "informational after head or end");
      reply.informational(head);
    },
    head: (head, body) => {
      promise(status === 0 && !isEnded, () => "head after head or end");
      status = head.status;
      reply.head(head, body);
    },
    end: (error) => {
      promise(!isEnded, () => "ended twice");
      promise(error !== null || status > 0, () => "a clean end without a head");
      isEnded = true;
      ended(status, error);
      reply.end(error);
    },
  };
}

/** Everything that is due now, and what follows from it at once. */
export async function turn(): Promise<void> {
  for (let i = 0; i < 2; i++) await new Promise<void>((resolve) => setImmediate(resolve));
}
