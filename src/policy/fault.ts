import type { FaultAbort, FaultConfig } from "../config/fault-config.js";
import { ProxyError } from "../errors/proxy-error.js";
import type { RequestContext } from "../stack/request-context.js";
import { endedCall, type Call, type Layer, type Reply, type Service } from "../stack/service.js";
import type { Counter, Gauge } from "../telemetry/cells.js";
import type { Clock } from "../time/clock.js";
import type { TimerTarget, TimerWheel, WheelTimer } from "../time/timer-wheel.js";
import { BufferedBody } from "../traffic/body.js";
import { grpcStatusReply } from "../traffic/grpc-status-reply.js";
import { grpcStatusOfHttp } from "../traffic/grpc.js";
import type { RequestHead } from "../traffic/message.js";

/** Requests held back at once in a sidecar: an experiment must not fill its memory. */
export const maxHeldRequests = 1000;

export interface FaultOptions {
  readonly config: FaultConfig;
  /** Whether the fault's headers match. */
  readonly matches: (head: RequestHead) => boolean;
  readonly clock: Clock;
  readonly wheel: TimerWheel;
  /** Requests held back now by all faults of the sidecar. It is the bound's own memory. */
  readonly held: Gauge;
  readonly meters: FaultMeters;
  /** Told with each request that comes after the end. */
  readonly onExpired: () => void;
}

export interface FaultMeters {
  readonly delays: Counter;
  readonly aborts: Counter;
  /** Requests that were not held back because too many were. */
  readonly crowded: Counter;
}

/**
 * Failures on purpose: holds requests back, and answers some of them with a failure. Stands outside of everything that could
 * make them good, as Envoy's fault filter stands before its router: the caller is who is put to the test.
 */
export function fault(options: FaultOptions): Layer {
  const { config, matches, clock, held, meters, onExpired } = options;
  const { delay, abort, expiresMs } = config;
  return (inner) => {
    const aborter = abort === undefined ? undefined : new Aborter(config, abort, meters);
    const isDrawn = (percent: number): boolean => clock.random() * 100 < percent;
    return {
      call(request, reply) {
        if (clock.wallMs() >= expiresMs) {
          onExpired();
          return inner.call(request, reply);
        }
        if (!matches(request.head)) return inner.call(request, reply);
        const isAborted =
          abort !== undefined && aborter?.concerns(request) === true && isDrawn(abort.percent);
        const next = isAborted ? (aborter ?? inner) : inner;
        if (delay === undefined || !isDrawn(delay.percent)) return next.call(request, reply);
        if (held.value >= maxHeldRequests) {
          meters.crowded.value++;
          return next.call(request, reply);
        }
        meters.delays.value++;
        addFlag(request, "DI");
        request.heldMs = delay.fixedMs;
        return new HeldCall(next, request, reply, held).start(options.wheel, delay.fixedMs);
      },
    };
  };
}

/** Answers with the failure. */
class Aborter implements Service {
  readonly #abort: FaultAbort;
  readonly #meters: FaultMeters;
  /** One for all: it tells what happened, not where. */
  readonly #error: ProxyError;

  constructor({ source, expiresMs }: FaultConfig, abort: FaultAbort, meters: FaultMeters) {
    this.#abort = abort;
    this.#meters = meters;
    const until = new Date(expiresMs).toISOString();
    this.#error = new ProxyError("fault_injected", `abort, until=${until}, source=${source}`);
  }

  /** HTTP has no word for a gRPC status alone. */
  concerns(request: RequestContext): boolean {
    return this.#abort.status !== undefined || request.isGrpc;
  }

  call(request: RequestContext, reply: Reply): Call {
    this.#meters.aborts.value++;
    // For metrics and the access log; the caller gets the answer that the document asks for.
    request.error = this.#error;
    const marks = ["x-remora-error", this.#error.code, "x-remora-fault", "abort"];
    const { status = 503, grpcStatus = grpcStatusOfHttp(status) } = this.#abort;
    if (request.isGrpc) {
      const head = grpcStatusReply(grpcStatus, this.#error.message);
      head.headers.push(...marks);
      reply.head(head, null);
    } else {
      const body = Buffer.from(`${this.#error.message}\n`);
      const headers = ["content-type", "text/plain", "content-length", `${body.length}`, ...marks];
      reply.head({ status, reason: "", version: "1.1", headers }, new BufferedBody(body));
    }
    reply.end(null);
    return endedCall;
  }
}

/** A request that is sent later. */
class HeldCall implements Call, TimerTarget {
  readonly #next: Service;
  readonly #request: RequestContext;
  readonly #reply: Reply;
  readonly #held: Gauge;
  /** null: it has been sent, or given up. */
  #timer: WheelTimer | null = null;
  #call: Call | null = null;
  #reason: ProxyError | null = null;

  constructor(next: Service, request: RequestContext, reply: Reply, held: Gauge) {
    this.#next = next;
    this.#request = request;
    this.#reply = reply;
    this.#held = held;
  }

  start(wheel: TimerWheel, delayMs: number): this {
    this.#held.value++;
    this.#timer = wheel.add(delayMs, this);
    return this;
  }

  onTimer(): void {
    this.#timer = null;
    this.#held.value--;
    const call = this.#next.call(this.#request, this.#reply);
    this.#call = call;
    if (this.#reason !== null) call.cancel(this.#reason);
  }

  cancel(error: ProxyError): void {
    if (this.#timer === null) {
      this.#reason = error;
      this.#call?.cancel(error);
      return;
    }
    this.#timer.cancel();
    this.#timer = null;
    this.#held.value--;
    this.#reply.end(error);
  }
}

function addFlag(request: RequestContext, flag: string): void {
  request.flag = request.flag === "" ? flag : `${request.flag},${flag}`;
}
