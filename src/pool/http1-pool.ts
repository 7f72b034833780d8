import type { Socket } from "node:net";
import { ProxyError } from "../errors/proxy-error.js";
import type { EndpointTransport } from "../stack/endpoint.js";
import type { RequestContext } from "../stack/request-context.js";
import { endedCall, type Call, type Reply } from "../stack/service.js";
import type { Clock } from "../time/clock.js";
import type { TimerWheel, WheelTimer } from "../time/timer-wheel.js";
import type { Dialer } from "./dialer.js";
import { PendingCall } from "./pending-call.js";
import { closedError, retiredError } from "./pool-errors.js";

/** A connection as the pool sees it; http1/ makes them. */
export interface PooledConnection {
  /** That it has carried: after the first one the peer may be closing it. */
  readonly requests: number;
  idleSinceMs: number;
  /** The peer's own keep-alive time, milliseconds; -1 = unknown. */
  readonly keepAliveHintMs: number;
  send(request: RequestContext, reply: Reply): Call;
  destroy(error: ProxyError): void;
}

export interface ConnectionOwner {
  connectionIdle(connection: PooledConnection): void;
  connectionClosed(connection: PooledConnection): void;
}

export interface PoolOptions {
  /** For error texts, for example `cluster api.default, 10.0.0.7:20001`. */
  readonly name: string;
  readonly dialer: Dialer;
  readonly connect: (socket: Socket, owner: ConnectionOwner) => PooledConnection;
  readonly clock: Clock;
  readonly wheel: TimerWheel;
  readonly maxConnections: number;
  readonly maxPendingRequests: number;
  /** That a connection carries in its life. Absent: no limit. */
  readonly maxRequestsPerConnection?: number | undefined;
  readonly poolIdleMs: number;
}

/** Closed this long before the peer would: a request must never race with its close. */
const hintMarginMs = 1000;

/**
 * Connections of one request at a time to one endpoint. The connection used last is used next, so that the others grow old
 * and go. Requests that find none wait, up to a limit, for whatever comes first: a connection set free or a new one.
 */
export class Http1Pool implements EndpointTransport, ConnectionOwner {
  readonly #options: PoolOptions;
  readonly #connections = new Set<PooledConnection>();
  /** Oldest first. */
  readonly #idle: PooledConnection[] = [];
  readonly #waiting = new Set<PendingCall>();
  readonly #dials = new Set<{ cancel(): void }>();
  #sweepTimer: WheelTimer | null = null;
  #isRetired = false;
  #isClosed = false;
  /** Connections opened since the start. */
  opened = 0;

  constructor(options: PoolOptions) {
    this.#options = options;
  }

  get connectionCount(): number {
    return this.#connections.size;
  }

  call(request: RequestContext, reply: Reply): Call {
    if (this.#isClosed) {
      reply.end(closedError);
      return endedCall;
    }
    if (!request.needsFreshConnection) {
      const connection = this.#takeIdle();
      if (connection !== undefined) return connection.send(request, reply);
    } else if (!this.#canDial) {
      // Room for a fresh one.
      this.#idle[0]?.destroy(retiredError);
    }
    const { maxPendingRequests, maxConnections, name } = this.#options;
    const canDial = this.#canDial;
    // Who has a dial of its own is not in the queue for the others' connections.
    if (!canDial && this.#waiting.size - this.#dials.size >= maxPendingRequests) {
      const text = `${name}: ${maxConnections} connections busy and ${maxPendingRequests} requests waiting`;
      reply.end(new ProxyError("concurrency_limit", text));
      return endedCall;
    }
    const pending = new PendingCall(this.#waiting, request, reply);
    if (canDial) this.#dial();
    return pending;
  }

  retire(): void {
    this.#isRetired = true;
    for (const connection of this.#idle.splice(0)) connection.destroy(retiredError);
  }

  close(): void {
    this.#isRetired = true;
    this.#isClosed = true;
    this.#sweepTimer?.cancel();
    this.#cancelDials();
    for (const pending of [...this.#waiting]) pending.refuse(closedError);
    for (const connection of [...this.#connections]) connection.destroy(retiredError);
  }

  /** Takes over a connected socket that somebody else has dialled, and the requests that wait for it. */
  adopt(socket: Socket, waiting: readonly PendingCall[]): void {
    for (const pending of waiting) pending.moveTo(this.#waiting);
    this.#connected(socket);
    while (this.#waiting.size > this.#dials.size && this.#canDial) this.#dial();
  }

  /** The endpoint speaks another protocol by now: gives away the requests that wait; those under way finish. */
  surrender(): readonly PendingCall[] {
    this.#cancelDials();
    for (const connection of this.#idle.splice(0)) connection.destroy(retiredError);
    return [...this.#waiting];
  }

  connectionIdle(connection: PooledConnection): void {
    const { maxRequestsPerConnection = Infinity } = this.#options;
    if (connection.requests >= maxRequestsPerConnection) return connection.destroy(retiredError);
    const next = this.#nextWaiting(connection.requests > 0);
    if (next !== undefined) return next.start(connection);
    // Whoever waits now wants a fresh connection: this one makes room for it, or is not wanted any more.
    if (this.#isRetired || (this.#waiting.size > this.#dials.size && !this.#canDial))
      return connection.destroy(retiredError);
    connection.idleSinceMs = this.#options.clock.monotonicMs();
    this.#idle.push(connection);
    if (this.#sweepTimer === null) this.#sweepLater(this.#options.poolIdleMs);
  }

  connectionClosed(connection: PooledConnection): void {
    this.#connections.delete(connection);
    const at = this.#idle.indexOf(connection);
    if (at >= 0) this.#idle.splice(at, 1);
    this.#dialForWaiting();
  }

  get #canDial(): boolean {
    return this.#connections.size + this.#dials.size < this.#options.maxConnections;
  }

  /** The connection used last, unless the peer may be about to close it: the sweep comes late after a stall. */
  #takeIdle(): PooledConnection | undefined {
    if (this.#idle.length === 0) return undefined;
    const nowMs = this.#options.clock.monotonicMs();
    for (let last = this.#idle.pop(); last !== undefined; last = this.#idle.pop()) {
      if (nowMs - last.idleSinceMs < this.#idleLimitMs(last)) return last;
      last.destroy(retiredError);
    }
    return undefined;
  }

  /** The oldest that may use such a connection. */
  #nextWaiting(isUsed: boolean): PendingCall | undefined {
    for (const pending of this.#waiting) {
      if (!isUsed || !pending.request.needsFreshConnection) return pending;
    }
    return undefined;
  }

  #dialForWaiting(): void {
    if (this.#waiting.size > this.#dials.size && this.#canDial) this.#dial();
  }

  #dial(): void {
    const dial = this.#options.dialer.dial(
      (socket) => {
        this.#dials.delete(dial);
        this.#connected(socket);
      },
      (error) => {
        this.#dials.delete(dial);
        // One dial, one request; but a dial that outlived its request costs no other one, whose own is under way.
        if (this.#waiting.size > this.#dials.size) this.#nextWaiting(false)?.refuse(error);
        this.#dialForWaiting();
      },
    );
    this.#dials.add(dial);
  }

  #connected(socket: Socket): void {
    const connection = this.#options.connect(socket, this);
    this.#connections.add(connection);
    this.opened++;
    this.connectionIdle(connection);
  }

  #cancelDials(): void {
    for (const dial of this.#dials) dial.cancel();
    this.#dials.clear();
  }

  #sweepLater(delayMs: number): void {
    this.#sweepTimer = this.#options.wheel.add(Math.max(1, delayMs), { onTimer: () => this.#sweep() });
  }

  #sweep(): void {
    this.#sweepTimer = null;
    const nowMs = this.#options.clock.monotonicMs();
    let nextMs = this.#options.poolIdleMs;
    for (const connection of [...this.#idle]) {
      const leftMs = connection.idleSinceMs + this.#idleLimitMs(connection) - nowMs;
      if (leftMs <= 0) connection.destroy(retiredError);
      else nextMs = Math.min(nextMs, leftMs);
    }
    if (this.#idle.length > 0) this.#sweepLater(nextMs);
  }

  #idleLimitMs(connection: PooledConnection): number {
    const { poolIdleMs } = this.#options;
    const hintMs = connection.keepAliveHintMs;
    return hintMs < 0 ? poolIdleMs : Math.min(poolIdleMs, Math.max(0, hintMs - hintMarginMs));
  }
}
