import type { HealthProbeConfig } from "../config/health-check-config.js";
import type { ErrorCode } from "../errors/error-table.js";
import { ProxyError } from "../errors/proxy-error.js";
import { RequestContext } from "../stack/request-context.js";
import type { Call, Reply, Service } from "../stack/service.js";
import type { TimerTarget, TimerWheel, WheelTimer } from "../time/timer-wheel.js";
import { BufferedBody, type BodySink, type BodySource } from "../traffic/body.js";
import { grpcStatusOf } from "../traffic/grpc.js";
import { getHeader } from "../traffic/headers.js";
import type { ResponseHead } from "../traffic/message.js";
import {
  healthCheckPath,
  healthCheckRequest,
  healthCheckStatus,
  serving,
  statusName,
} from "./grpc-health.js";
import { speaksAgainstEndpoint } from "./upstream-faults.js";

/** Takes the result of a probe, once: why it failed; "" = it passed; undefined = it says nothing about the instance. */
export type ProbeVerdict = (failure: string | undefined) => void;

export interface ProbeOptions {
  readonly probe: HealthProbeConfig;
  readonly timeoutMs: number;
  /** The endpoint's own connections. */
  readonly transport: Service;
  readonly wheel: TimerWheel;
  readonly nowMs: number;
  readonly onVerdict: ProbeVerdict;
}

/** More than any answer of a health check has; nobody reads on beyond it. */
const maxBodyBytes = 64 * 1024;
/** A HealthCheckResponse has 7. */
const maxMessageBytes = 1024;
/** Said by the instance's sidecar for want of room: its application was not asked. */
const turnedAway: ReadonlySet<string> = new Set<ErrorCode>([
  "rate_limited",
  "overloaded",
  "concurrency_limit",
  "queue_timeout",
]);
/** Says nothing about anybody: the answer is known. */
const discarded = new ProxyError("client_gone", "health check: enough is known");

/** One request of a health check, from its beginning to its verdict. */
export class HealthProbe implements Reply, TimerTarget {
  readonly #options: ProbeOptions;
  readonly #timer: WheelTimer;
  readonly #body = new ProbeBody(() => this.#cancel(discarded));
  /** undefined: not known yet; "" = it has passed. */
  #failure: string | undefined;
  #hasHead = false;
  /** A limit was hit, here or there, or this machine is short of something: that is not the instance's health. */
  #isMute = false;
  #isEnded = false;
  #call: Call | undefined;
  /** Asked to end before the call had returned. */
  #cancelWith: ProxyError | undefined;

  constructor(options: ProbeOptions) {
    this.#options = options;
    this.#timer = options.wheel.add(options.timeoutMs, this);
  }

  start(): this {
    const call = this.#options.transport.call(requestOf(this.#options), this);
    this.#call = call;
    if (this.#cancelWith !== undefined) call.cancel(this.#cancelWith);
    return this;
  }

  /** Ends it without a verdict. */
  abandon(): void {
    this.#isEnded = true;
    this.#timer.cancel();
    this.#cancel(discarded);
  }

  onTimer(): void {
    // A connection that was opened tells enough, however long it stays.
    const isOpened = this.#options.probe.type === "tcp" && this.#failure === "";
    if (!isOpened) this.#failure = `no answer within ${this.#options.timeoutMs} ms`;
    this.#finish();
    this.#cancel(discarded);
  }

  informational(): void {}

  head(head: ResponseHead, body: BodySource | null): void {
    const { probe } = this.#options;
    this.#hasHead = true;
    this.#isMute = turnedAway.has(getHeader(head.headers, "x-remora-error") ?? "");
    if (probe.type === "http") this.#failure = httpFailure(head.status, probe.statuses);
    else if (probe.type === "tcp") this.#failure = head.status === 101 ? "" : `status ${head.status}`;
    else if (head.status !== 200) this.#failure = `status ${head.status}`;
    else this.#body.takeFields(head.headers);
    body?.attach(this.#body);
  }

  end(error: ProxyError | null): void {
    if (this.#isEnded) return;
    const upgrade = this.#options.probe.type === "tcp" ? "tcp" : "";
    if (error !== null && error !== discarded) {
      if (speaksAgainstEndpoint(error, upgrade, this.#hasHead)) this.#failure = error.message;
      else if (!this.#hasHead) this.#isMute = true;
    }
    if (this.#options.probe.type === "grpc") this.#failure ??= this.#body.grpcFailure();
    this.#finish();
  }

  #finish(): void {
    this.#isEnded = true;
    this.#timer.cancel();
    this.#options.onVerdict(this.#isMute ? undefined : (this.#failure ?? "no answer"));
  }

  #cancel(error: ProxyError): void {
    this.#cancelWith = error;
    this.#call?.cancel(error);
  }
}

/** Reads what a health check is answered, up to a bound. */
class ProbeBody implements BodySink {
  readonly #onTooLong: () => void;
  readonly #chunks: Buffer[] = [];
  #bytes = 0;
  #grpcStatus: number | undefined;

  constructor(onTooLong: () => void) {
    this.#onTooLong = onTooLong;
  }

  /** Of a head or of trailers: the later one counts. */
  takeFields(fields: readonly string[]): void {
    this.#grpcStatus = grpcStatusOf(fields) ?? this.#grpcStatus;
  }

  write(chunk: Buffer): boolean {
    this.#bytes += chunk.length;
    if (this.#bytes > maxBodyBytes) this.#onTooLong();
    // The slice may be lent.
    else if (this.#bytes <= maxMessageBytes) this.#chunks.push(Buffer.from(chunk));
    return true;
  }

  end(trailers: readonly string[] | null): void {
    this.takeFields(trailers ?? []);
  }

  /** The end of the call tells. */
  fail(): void {}

  /** "" = the server says that it serves. */
  grpcFailure(): string {
    if (this.#grpcStatus !== 0) return `grpc-status ${this.#grpcStatus ?? "missing"}`;
    const status = this.#bytes > maxMessageBytes ? undefined : healthCheckStatus(Buffer.concat(this.#chunks));
    if (status === undefined) return "the answer is not a HealthCheckResponse";
    return status === serving ? "" : statusName(status);
  }
}

function httpFailure(status: number, good: readonly (readonly [from: number, to: number])[]): string {
  return good.some(([from, to]) => status >= from && status <= to) ? "" : `status ${status}`;
}

function requestOf({ probe, timeoutMs, nowMs }: ProbeOptions): RequestContext {
  const agent = ["user-agent", "remora-health-check"];
  const common = { version: "1.1", upgrade: "" } as const;
  const request = (() => {
    if (probe.type === "tcp") {
      const head = { ...common, method: "CONNECT", target: "/", authority: "", headers: [], upgrade: "tcp" };
      return new RequestContext(head, null, nowMs, "");
    }
    const { host: authority } = probe;
    if (probe.type === "http") {
      const { method, path: target } = probe;
      const headers = ["host", authority, ...agent];
      return new RequestContext({ ...common, method, target, authority, headers }, null, nowMs, "");
    }
    const message = healthCheckRequest(probe.service);
    const headers = [
      ...["host", authority, "content-type", "application/grpc", "te", "trailers", ...agent],
      ...["grpc-timeout", `${Math.ceil(timeoutMs)}m`, "content-length", `${message.length}`],
    ];
    const head = { ...common, method: "POST", target: healthCheckPath, authority, headers };
    return new RequestContext(head, new BufferedBody(message), nowMs, "");
  })();
  request.routeName = "health-check";
  return request;
}
