import type { ProxyError } from "../errors/proxy-error.js";
import type { RequestContext } from "../stack/request-context.js";
import type { Call, Reply, Service } from "../stack/service.js";
import type { TimerTarget, TimerWheel, WheelTimer } from "../time/timer-wheel.js";
import type { BodySource } from "../traffic/body.js";
import type { ResponseHead } from "../traffic/message.js";

/** What a call that takes too long is ended with. */
export interface TimeLimit {
  /** Asked when the time has passed: which timer, how long, who set it. */
  error(): ProxyError;
}

/** One call under a timer that runs until its response is complete. A tunnel has no such limit. */
export class TimedCall implements Reply, Call, TimerTarget {
  readonly #limit: TimeLimit;
  readonly #reply: Reply;
  readonly #timer: WheelTimer;
  #inner: Call | null = null;

  /** The timer starts here, `timeoutMs` > 0. */
  constructor(limit: TimeLimit, timeoutMs: number, wheel: TimerWheel, reply: Reply) {
    this.#limit = limit;
    this.#reply = reply;
    this.#timer = wheel.add(timeoutMs, this);
  }

  /** Hands the request on; once. */
  start(service: Service, request: RequestContext): this {
    this.#inner = service.call(request, this);
    return this;
  }

  onTimer(): void {
    this.cancel(this.#limit.error());
  }

  cancel(error: ProxyError): void {
    // Never null here: neither the timer nor a caller has a hold of this before start() has returned.
    this.#inner?.cancel(error);
  }

  informational(head: ResponseHead): void {
    this.#reply.informational(head);
  }

  head(head: ResponseHead, body: BodySource | null): void {
    // A tunnel (WebSocket) lives for as long as its ends like.
    if (head.status === 101) this.#timer.cancel();
    this.#reply.head(head, body);
  }

  end(error: ProxyError | null): void {
    this.#timer.cancel();
    this.#reply.end(error);
  }
}
