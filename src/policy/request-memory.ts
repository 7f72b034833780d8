import type { ProxyError } from "../errors/proxy-error.js";
import type { Origin } from "../stack/origin.js";
import type { RequestContext } from "../stack/request-context.js";
import type { Call, Layer, Reply } from "../stack/service.js";
import type { BodySource } from "../traffic/body.js";
import { grpcStatusOf } from "../traffic/grpc.js";
import { markRetriesSpent, traceIdOf } from "../traffic/hop-fields.js";
import type { ResponseHead } from "../traffic/message.js";
import { NameTable } from "./name-table.js";

/** Names that are remembered at once; beyond it new ones are not, and what bears them has no limits. */
const maxNames = 65_536;
/** Requests of one name whose limits are compared; with more under way the name has no limits. */
const maxRequests = 64;

/**
 * What the local application is working on: the inbound requests under way by the name of their trace and by their
 * x-request-id. An application that passes either on, as tracing asks of it, makes its outbound requests known as part of
 * the inbound one, whose deadline and attempt then hold for them, too.
 *
 * Several inbound requests of one name: the latest deadline and the lowest attempt count, so that nothing is cut or left
 * unrepeated that any of them permits. Nothing is remembered of a request that has ended.
 */
export class RequestMemory {
  /** Key: trace-id. */
  readonly #traces = new NameTable<SharedOrigin>();
  /** Key: x-request-id. */
  readonly #ids = new NameTable<SharedOrigin>();

  /** Names that are remembered. */
  get size(): number {
    return this.#traces.size + this.#ids.size;
  }

  remember(request: RequestContext): Remembered {
    const { headers } = request.head;
    const traceId = traceIdOf(headers);
    const trace = traceId === "" ? undefined : this.#join(this.#traces, traceId, request);
    const id = request.id === "" ? undefined : this.#join(this.#ids, request.id, request);
    return new Remembered(trace, id);
  }

  /** What an outbound request is made for, by its trace, else by its id; undefined when that is not known. */
  recall(request: RequestContext): SharedOrigin | undefined {
    if (this.size === 0) return undefined;
    const traceId = this.#traces.size === 0 ? "" : traceIdOf(request.head.headers);
    return (traceId === "" ? undefined : this.#traces.get(traceId)) ?? this.#ids.get(request.id);
  }

  #join(names: NameTable<SharedOrigin>, name: string, request: RequestContext): Membership | undefined {
    let origin = names.get(name);
    if (origin === undefined) {
      if (this.size >= maxNames) return undefined;
      names.add(name, (origin = new SharedOrigin()));
    }
    origin.add(request);
    return { names, name, origin, request };
  }
}

interface Membership {
  readonly names: NameTable<SharedOrigin>;
  readonly name: string;
  readonly origin: SharedOrigin;
  readonly request: RequestContext;
}

/** The inbound requests of one name. */
export class SharedOrigin implements Origin {
  hasSpentRetries = false;
  readonly #requests: RequestContext[] = [];
  /** Requests under way that are not in the list. */
  #further = 0;

  add(request: RequestContext): void {
    if (this.#requests.length < maxRequests) this.#requests.push(request);
    else this.#further++;
  }

  /** False when none is left. */
  remove(request: RequestContext): boolean {
    const index = this.#requests.indexOf(request);
    if (index < 0) this.#further--;
    else this.#requests.splice(index, 1);
    return this.#requests.length + this.#further > 0;
  }

  /** Monotonic milliseconds. */
  get deadlineMs(): number {
    if (this.#further > 0) return Infinity;
    let latest = 0;
    for (const { deadlineMs } of this.#requests) latest = Math.max(latest, deadlineMs);
    return latest;
  }

  get callerId(): string | undefined {
    return this.#common(({ peerId }) => peerId);
  }

  get callerAddress(): string | undefined {
    return this.#common(({ remoteAddress }) => remoteAddress.slice(0, remoteAddress.lastIndexOf(":")));
  }

  /** What is the same for all of them. */
  #common(read: (request: RequestContext) => string | undefined): string | undefined {
    const [first, ...others] = this.#requests;
    if (first === undefined || this.#further > 0) return undefined;
    const value = read(first);
    return others.every((each) => read(each) === value) ? value : undefined;
  }

  get attempt(): number {
    if (this.#further > 0) return 1;
    let lowest = Infinity;
    for (const { attempt } of this.#requests) lowest = Math.min(lowest, attempt);
    return lowest;
  }
}

/** An inbound request's places in the memory. */
export class Remembered {
  readonly #trace: Membership | undefined;
  readonly #id: Membership | undefined;

  constructor(trace: Membership | undefined, id: Membership | undefined) {
    this.#trace = trace;
    this.#id = id;
  }

  get hasSpentRetries(): boolean {
    return this.#trace?.origin.hasSpentRetries === true || this.#id?.origin.hasSpentRetries === true;
  }

  /** Once. */
  forget(): void {
    leave(this.#trace);
    leave(this.#id);
  }
}

function leave(membership: Membership | undefined): void {
  if (membership === undefined) return;
  const { names, name, origin, request } = membership;
  if (!origin.remove(request)) names.delete(name);
}

/** Inbound: remembers each request while it is under way, and tells its caller when retries were spent on it further on. */
export function rememberRequests(memory: RequestMemory): Layer {
  return (inner) => ({
    call(request: RequestContext, reply: Reply): Call {
      return inner.call(request, new RememberedReply(memory.remember(request), reply));
    },
  });
}

class RememberedReply implements Reply {
  readonly #reply: Reply;
  #remembered: Remembered | null;

  constructor(remembered: Remembered, reply: Reply) {
    this.#remembered = remembered;
    this.#reply = reply;
  }

  informational(head: ResponseHead): void {
    this.#reply.informational(head);
  }

  head(head: ResponseHead, body: BodySource | null): void {
    // A tunnel may last for days: what is called meanwhile was not asked for by the request that opened it.
    if (head.status === 101) this.#forget();
    else if (this.#remembered?.hasSpentRetries === true && isFailure(head)) markRetriesSpent(head.headers);
    this.#reply.head(head, body);
  }

  end(error: ProxyError | null): void {
    this.#forget();
    this.#reply.end(error);
  }

  #forget(): void {
    this.#remembered?.forget();
    this.#remembered = null;
  }
}

function isFailure({ status, headers }: ResponseHead): boolean {
  return status >= 400 || (grpcStatusOf(headers) ?? 0) !== 0;
}

/** Outbound: a request that is part of an inbound one under way shares its deadline and its attempt. */
export function recallOrigin(memory: RequestMemory): Layer {
  return (inner) => ({
    call(request: RequestContext, reply: Reply): Call {
      const origin = memory.recall(request);
      if (origin !== undefined) {
        request.origin = origin;
        request.callerTimeoutMs = Math.min(request.callerTimeoutMs, origin.deadlineMs - request.startMs);
        request.attempt = Math.max(request.attempt, origin.attempt);
      }
      request.isRepetition = request.attempt > 1;
      return inner.call(request, reply);
    },
  });
}
