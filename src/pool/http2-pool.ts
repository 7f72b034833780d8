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

/** A connection that carries many requests at once, as the pool sees it; http2/ makes them. */
export interface MultiplexedConnection {
  readonly activeStreams: number;
  /** May another stream be opened now? False also while the peer allows none. */
  readonly canSend: boolean;
  send(request: RequestContext, reply: Reply): Call;
  /** Takes no new streams, and closes when those under way have ended. */
  retire(): void;
  destroy(error: ProxyError): void;
}

/** What a connection tells whoever opened it. */
export interface MultiplexedOwner {
  /** A stream ended, or the peer allows more of them. */
  connectionFree(): void;
  /** It takes no new streams any more; those under way go on. */
  connectionDraining(): void;
  /** It is gone. Told before the calls it carried learn of it. */
  connectionClosed(): void;
}

export interface Http2PoolOptions {
  /** For error texts, for example `cluster api.default, 10.0.0.7:20001`. */
  readonly name: string;
  readonly dialer: Dialer;
  readonly connect: (socket: Socket, owner: MultiplexedOwner) => MultiplexedConnection;
  readonly clock: Clock;
  readonly wheel: TimerWheel;
  /** Of those that take new streams: one that was told to go may have to stay for hours. */
  readonly maxConnections: number;
  readonly maxPendingRequests: number;
  /** Per connection; the peer may allow fewer. */
  readonly maxConcurrentStreams: number;
  /** That a connection carries in its life: then it takes no new ones, and closes when the last has ended. Absent: no limit. */
  readonly maxRequestsPerConnection?: number | undefined;
}

/**
 * Another connection is opened when each has this many streams. The more share one, the fewer system calls and TLS records
 * there are: 64 requests at once cost a tenth less over one connection than over four. Not more, because a lost packet
 * holds up all of a connection, and servers commonly allow 100.
 */
const streamsPerConnection = 64;
/** Below the idle time of servers (our own: 75 s). */
const idleMs = 60_000;
/** For all but one idle connection. */
const surplusIdleMs = 5000;
/** After a dial that failed while other connections serve. */
const growthPauseMs = 1000;

/**
 * A few connections of many requests at a time to one endpoint: as many as the load needs. A request takes the connection
 * with the fewest streams; those that find no room wait, up to a limit, for a stream that ends or a new connection.
 */
export class Http2Pool implements EndpointTransport {
  readonly #options: Http2PoolOptions;
  readonly #maxRequests: number;
  /** Requests that a connection which is being opened will take at once. */
  readonly #room: number;
  readonly #members = new Set<Member>();
  /** Those that take new streams. */
  readonly #usable: Member[] = [];
  readonly #waiting = new Set<PendingCall>();
  readonly #dials = new Set<{ cancel(): void }>();
  #sweepTimer: WheelTimer | null = null;
  #growsAgainAtMs = -Infinity;
  #isRetired = false;
  #isClosed = false;
  /** Connections opened since the start. */
  opened = 0;

  constructor(options: Http2PoolOptions) {
    const { maxRequestsPerConnection = Infinity, maxConcurrentStreams } = options;
    this.#options = options;
    this.#maxRequests = maxRequestsPerConnection;
    this.#room = Math.min(maxConcurrentStreams, maxRequestsPerConnection);
  }

  get connectionCount(): number {
    return this.#members.size;
  }

  call(request: RequestContext, reply: Reply): Call {
    if (this.#isClosed) {
      reply.end(closedError);
      return endedCall;
    }
    const member = this.#pick(request);
    if (member !== undefined) {
      if (member.connection.activeStreams >= streamsPerConnection) this.#grow();
      const call = member.connection.send(request, reply);
      this.#sent(member);
      return call;
    }
    const { maxPendingRequests, name } = this.#options;
    this.#dialFor(this.#waiting.size + 1);
    // Whoever fits on a connection that is being opened is not in the queue for the others.
    if (this.#waiting.size - this.#dials.size * this.#room >= maxPendingRequests) {
      const text = `${name}: ${this.#members.size} connections in use and ${maxPendingRequests} requests waiting`;
      reply.end(new ProxyError("concurrency_limit", text));
      return endedCall;
    }
    return new PendingCall(this.#waiting, request, reply);
  }

  retire(): void {
    this.#isRetired = true;
    for (const member of [...this.#usable]) this.#retire(member);
  }

  close(): void {
    this.#isRetired = true;
    this.#isClosed = true;
    this.#sweepTimer?.cancel();
    this.#cancelDials();
    for (const pending of [...this.#waiting]) pending.refuse(closedError);
    for (const member of [...this.#members]) member.connection.destroy(retiredError);
  }

  /** Takes over a connected socket that somebody else has dialled, and the requests that wait for it. */
  adopt(socket: Socket, waiting: readonly PendingCall[]): void {
    for (const pending of waiting) pending.moveTo(this.#waiting);
    this.#connected(socket);
  }

  /** The endpoint speaks another protocol by now: gives away the requests that wait; those under way finish. */
  surrender(): readonly PendingCall[] {
    this.#cancelDials();
    for (const member of [...this.#usable]) this.#retire(member);
    return [...this.#waiting];
  }

  /** For a connection: see MultiplexedOwner. */
  memberFree(member: Member): void {
    if (this.#waiting.size > 0) {
      this.#serveWaiting();
      this.#dialFor(this.#waiting.size);
    }
    if (member.isDraining || member.connection.activeStreams > 0) return;
    if (this.#isRetired) return this.#retire(member);
    member.idleSinceMs = this.#options.clock.monotonicMs();
    if (this.#sweepTimer === null) this.#sweepLater(surplusIdleMs);
  }

  /** For a connection: see MultiplexedOwner. */
  memberDraining(member: Member): void {
    if (member.isDraining) return;
    member.isDraining = true;
    this.#usable.splice(this.#usable.indexOf(member), 1);
    this.#dialFor(this.#waiting.size);
  }

  /** For a connection: see MultiplexedOwner. */
  memberClosed(member: Member): void {
    if (!this.#members.delete(member)) return;
    this.memberDraining(member);
  }

  /** The one with the fewest streams that has room; the first of equals, so that the others can grow old. */
  #pick(request: RequestContext): Member | undefined {
    const { maxConcurrentStreams } = this.#options;
    let least = maxConcurrentStreams;
    let best: Member | undefined;
    for (const member of this.#usable) {
      const { activeStreams, canSend } = member.connection;
      if (activeStreams >= least || !canSend) continue;
      if (request.needsFreshConnection && !this.#isFresh(member, request)) continue;
      least = activeStreams;
      best = member;
    }
    return best;
  }

  /**
   * The connection that failed may still look usable; one that was opened since is another one. Where no other can be had,
   * any will do.
   */
  #isFresh(member: Member, request: RequestContext): boolean {
    return member.openedAtMs >= request.startMs || (this.#dials.size === 0 && !this.#canDial);
  }

  get #canDial(): boolean {
    return (
      !this.#isClosed &&
      this.#usable.length + this.#dials.size < this.#options.maxConnections &&
      (this.#usable.length === 0 || this.#options.clock.monotonicMs() >= this.#growsAgainAtMs)
    );
  }

  /** In the background: nobody waits for it. */
  #grow(): void {
    if (this.#dials.size === 0 && this.#canDial) this.#dial();
  }

  /** Opens a connection when those being opened do not suffice for so many waiting requests. */
  #dialFor(waiting: number): void {
    if (waiting > this.#dials.size * this.#room && this.#canDial) this.#dial();
  }

  #serveWaiting(): void {
    for (const pending of this.#waiting) {
      const member = this.#pick(pending.request);
      if (member !== undefined) {
        pending.start(member.connection);
        this.#sent(member);
      } else if (!pending.request.needsFreshConnection) break;
    }
  }

  /** The last request that it may carry goes on it like the others; it closes with the end of all of them. */
  #sent(member: Member): void {
    if (++member.requests >= this.#maxRequests && !member.isDraining) this.#retire(member);
  }

  #dial(): void {
    const dial = this.#options.dialer.dial(
      (socket) => {
        this.#dials.delete(dial);
        this.#connected(socket);
      },
      (error) => {
        this.#dials.delete(dial);
        this.#dialFailed(error);
      },
    );
    this.#dials.add(dial);
  }

  #connected(socket: Socket): void {
    const { connect, clock } = this.#options;
    const member = new Member(this, clock.monotonicMs());
    member.connection = connect(socket, member);
    this.#members.add(member);
    this.#usable.push(member);
    this.opened++;
    this.memberFree(member);
  }

  /** They all had this one attempt in common; but whoever waits for room on the connections there are goes on waiting. */
  #dialFailed(error: ProxyError): void {
    this.#growsAgainAtMs = this.#options.clock.monotonicMs() + growthPauseMs;
    this.#serveWaiting();
    if (this.#dials.size > 0 || this.#usable.some(({ connection }) => connection.activeStreams > 0)) return;
    for (const pending of [...this.#waiting]) pending.refuse(error);
  }

  #cancelDials(): void {
    for (const dial of this.#dials) dial.cancel();
    this.#dials.clear();
  }

  #retire(member: Member): void {
    this.memberDraining(member);
    member.connection.retire();
  }

  #sweepLater(delayMs: number): void {
    this.#sweepTimer = this.#options.wheel.add(Math.max(1, delayMs), { onTimer: () => this.#sweep() });
  }

  #sweep(): void {
    this.#sweepTimer = null;
    const nowMs = this.#options.clock.monotonicMs();
    let nextMs = this.#usable.length > 1 ? surplusIdleMs : idleMs;
    let isSurplus = false;
    for (const member of [...this.#usable]) {
      if (member.connection.activeStreams > 0) continue;
      const leftMs = member.idleSinceMs + (isSurplus ? surplusIdleMs : idleMs) - nowMs;
      isSurplus = true;
      if (leftMs <= 0) this.#retire(member);
      else nextMs = Math.min(nextMs, leftMs);
    }
    if (isSurplus && this.#usable.length > 0) this.#sweepLater(nextMs);
  }
}

/** A connection of the pool, and its owner towards the codec. */
class Member implements MultiplexedOwner {
  readonly #pool: Http2Pool;
  /** Monotonic milliseconds. */
  readonly openedAtMs: number;
  idleSinceMs: number;
  /** That it has carried. */
  requests = 0;
  isDraining = false;
  connection!: MultiplexedConnection;

  constructor(pool: Http2Pool, nowMs: number) {
    this.#pool = pool;
    this.openedAtMs = nowMs;
    this.idleSinceMs = nowMs;
  }

  connectionFree(): void {
    this.#pool.memberFree(this);
  }

  connectionDraining(): void {
    this.#pool.memberDraining(this);
  }

  connectionClosed(): void {
    this.#pool.memberClosed(this);
  }
}
