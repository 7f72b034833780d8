import type { ErrorCode } from "../../src/errors/error-table.js";
import { ProxyError } from "../../src/errors/proxy-error.js";
import { RequestContext } from "../../src/stack/request-context.js";
import type { Call, Reply, Service } from "../../src/stack/service.js";
import type { BodySource } from "../../src/traffic/body.js";
import type { ResponseHead } from "../../src/traffic/message.js";

/** One call of a ScriptedService, answered by the test. Keeps the contract: one end, last, also after a cancel. */
export class ScriptedAttempt implements Call {
  readonly request: RequestContext;
  /** What the layer under test put in the request for this attempt. */
  readonly body: BodySource | null;
  cancelledWith: ProxyError | null = null;
  isEnded = false;
  /** False: a cancel is noted, and the test ends the attempt itself later. */
  endsOnCancel = true;
  readonly #reply: Reply;

  constructor(request: RequestContext, reply: Reply) {
    this.request = request;
    this.body = request.body;
    this.#reply = reply;
  }

  informational(status: number): void {
    this.#reply.informational({ status, reason: "", version: "1.1", headers: [] });
  }

  head(status: number, headers: string[] = [], body: BodySource | null = null): void {
    this.#reply.head({ status, reason: "", version: "1.1", headers }, body);
  }

  end(error: ProxyError | null = null): void {
    if (this.isEnded) throw new Error("ended twice");
    this.isEnded = true;
    this.#reply.end(error);
  }

  respond(status: number, headers: string[] = []): void {
    this.head(status, headers);
    // A layer may have cancelled the attempt because of its head.
    if (!this.isEnded) this.end();
  }

  fail(code: ErrorCode): void {
    this.end(new ProxyError(code, "scripted"));
  }

  cancel(error: ProxyError): void {
    if (this.isEnded) return;
    this.cancelledWith ??= error;
    if (this.endsOnCancel) this.end(error);
  }
}

export type Step = (attempt: ScriptedAttempt) => void;

/** An upstream played by the test: runs one step per call, within the call; calls without a step stay open. */
export class ScriptedService implements Service {
  readonly attempts: ScriptedAttempt[] = [];
  readonly #steps: Step[];

  constructor(...steps: Step[]) {
    this.#steps = steps;
  }

  call(request: RequestContext, reply: Reply): Call {
    const attempt = new ScriptedAttempt(request, reply);
    this.attempts.push(attempt);
    this.#steps.shift()?.(attempt);
    return attempt;
  }

  get last(): ScriptedAttempt {
    const attempt = this.attempts.at(-1);
    if (attempt === undefined) throw new Error("never called");
    return attempt;
  }
}

/** The outermost reply: notes what came, and throws when the order of the contract is broken. */
export class RecordedReply implements Reply {
  readonly informationals: number[] = [];
  status = 0;
  headers: readonly string[] = [];
  /** Not attached to: the test does. */
  body: BodySource | null = null;
  ends = 0;
  error: ProxyError | null = null;

  informational(head: ResponseHead): void {
    if (this.status !== 0 || this.ends > 0) throw new Error("informational after head or end");
    this.informationals.push(head.status);
  }

  head(head: ResponseHead, body?: BodySource | null): void {
    if (this.status !== 0 || this.ends > 0) throw new Error("head after head or end");
    this.status = head.status;
    this.headers = head.headers;
    this.body = body ?? null;
  }

  end(error: ProxyError | null): void {
    if (this.ends++ > 0) throw new Error("ended twice");
    this.error = error;
  }

  /** `200`, `502 upstream_truncated`, `connect_failed`, or `pending`. */
  get outcome(): string {
    const parts = [this.status === 0 ? "" : String(this.status), this.error?.code ?? ""];
    return this.ends === 0 ? "pending" : parts.filter((part) => part !== "").join(" ");
  }
}

export function scriptedRequest(
  options: { method?: string; body?: BodySource; startMs?: number; headers?: readonly string[] } = {},
): RequestContext {
  const head = {
    method: options.method ?? "GET",
    target: "/",
    authority: "api.mesh",
    version: "1.1" as const,
    headers: ["host", "api.mesh", ...(options.headers ?? [])],
    upgrade: "",
  };
  return new RequestContext(head, options.body ?? null, options.startMs ?? 0, "127.0.0.1:1");
}
