import type { ProxyError } from "../errors/proxy-error.js";
import type { BodySource } from "../traffic/body.js";
import { isGrpc } from "../traffic/grpc.js";
import type { RequestHead } from "../traffic/message.js";
import { defaultPriority, type Priority } from "../traffic/priority.js";
import type { Origin } from "./origin.js";
import type { Upstream } from "./upstream.js";
import type { Hash64 } from "./xx-hash64.js";

const untried: Upstream[] = [];

/** Everything known about one request while it is under way. Created by a server connection, seen by every layer. */
export class RequestContext {
  readonly head: RequestHead;
  /** null: the request has no body. Layers may put another source in its place (replay). */
  body: BodySource | null;
  /** SPIFFE id of the mTLS peer; undefined for plaintext listeners. */
  readonly peerId: string | undefined;
  /** SHA-256 of the peer's certificate in hexadecimal; "" without one. */
  peerHash = "";
  /** address:port of the peer. */
  readonly remoteAddress: string;
  /** Monotonic milliseconds at which the head was complete. */
  readonly startMs: number;

  /** What was decided on the way, for metrics and the access log. */
  id = "";
  routeName = "";
  /** What x-remora-priority said when the request came; "" = nothing. Whether it counts depends on who said it. */
  claimedPriority = "";
  priority: Priority = defaultPriority;
  clusterName = "";
  tried: Upstream[] = untried;
  attempts = 0;
  /** The last attempt lost the race against a server that closed a kept-alive connection: do not risk it twice. */
  needsFreshConnection = false;
  /** How long its caller waits, milliseconds from `startMs`, as it told this sidecar; Infinity = it did not. */
  callerTimeoutMs = Infinity;
  /** Which attempt this is of what applications may have seen, those of the hops before included; 1 = the first. */
  attempt = 1;
  /** Outbound: made for a request that repeats one that failed. Its retries are up to the hop that repeats. */
  isRepetition = false;
  /** Outbound: what it is made for; null when that is not known. */
  origin: Origin | null = null;
  /** Monotonic milliseconds at which the whole request is given up: the least of the timers it has met. */
  deadlineMs = Infinity;
  /** How long it was held back on purpose before its route began: not the route's time. */
  heldMs = 0;
  /** What each attempt has, milliseconds. */
  attemptTimeoutMs = Infinity;
  /** What keeps this request at one endpoint, in clusters that hash; written anew for each attempt. */
  balanceKey: Hash64 | undefined = undefined;
  /** A layer watches over its silence; the server connection does not. */
  hasOwnIdle = false;
  /** How the gRPC call of the last attempt ended, as its upstream told: 0-16; -1 = not told. */
  grpcStatus = -1;
  /** Body bytes read from and written to the client, framing not counted. */
  requestBytes = 0;
  responseBytes = 0;
  /** Why there was no complete response; null while and when all is well. */
  error: ProxyError | null = null;
  /** Envoy response flags that are not an error's own, for example URX. */
  flag = "";
  /** How an answer that neither an error nor an upstream gave came about, as response_code_details of the access log. */
  details = "";
  /** What policies that are tried out or audit would have done with it. */
  authorization = "";
  #isGrpc: boolean | undefined;

  constructor(
    head: RequestHead,
    body: BodySource | null,
    startMs: number,
    remoteAddress: string,
    peerId?: string,
  ) {
    this.head = head;
    this.body = body;
    this.startMs = startMs;
    this.remoteAddress = remoteAddress;
    this.peerId = peerId;
  }

  /** As it came: looked up once, before a route can change the head. */
  get isGrpc(): boolean {
    return (this.#isGrpc ??= isGrpc(this.head.headers));
  }

  get upstream(): Upstream | undefined {
    return this.tried[this.tried.length - 1];
  }

  /** Notes the endpoint of a new attempt. */
  attemptAt(upstream: Upstream): void {
    if (this.attempts === 0) this.tried = [upstream];
    else this.tried.push(upstream);
    this.attempts++;
  }

  /**
   * The same request for a call of its own: neither sees what the other notes, or changes in its head. A body has one
   * consumer, so the copy has the one given here. @param startMs when it begins, for time limits; given, nothing held it back.
   */
  fork(body: BodySource | null, startMs?: number): RequestContext {
    const head = { ...this.head, headers: [...this.head.headers] };
    const copy = new RequestContext(head, body, startMs ?? this.startMs, this.remoteAddress, this.peerId);
    const own = { head, body, tried: [...this.tried], needsFreshConnection: false };
    return Object.assign(copy, this, own, startMs === undefined ? {} : this.#from(startMs));
  }

  /** What is reckoned from the beginning, for one that begins later. */
  #from(startMs: number): Partial<RequestContext> {
    return { startMs, heldMs: 0, callerTimeoutMs: this.callerTimeoutMs - (startMs - this.startMs) };
  }

  /** Takes over what the copy that made the answer noted, for metrics and the access log. */
  adopt(copy: RequestContext): void {
    const { clusterName, tried, attempts, grpcStatus, flag } = copy;
    Object.assign(this, { clusterName, tried, attempts, grpcStatus, flag });
  }
}
