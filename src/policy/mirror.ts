import { ProxyError } from "../errors/proxy-error.js";
import type { RequestContext } from "../stack/request-context.js";
import type { Layer, Reply, Service } from "../stack/service.js";
import type { Counter, Gauge } from "../telemetry/cells.js";
import type { Clock } from "../time/clock.js";
import type { BodySink, BodySource } from "../traffic/body.js";
import { removeHeader } from "../traffic/headers.js";
import type { ResponseHead } from "../traffic/message.js";
import { batchPriority, priorityHeader } from "../traffic/priority.js";
import { MirroredBody, SharedBody } from "./mirrored-body.js";
import { setPriority } from "./priority.js";

/** Copies under way at once to one cluster: a mirror that hangs must not fill the sidecar. */
export const maxActiveMirrors = 256;

const wholeMillion = 1_000_000;

export interface MirrorTarget {
  /** The way into the mirror's cluster, with its own time limit. */
  readonly service: Service;
  /** Share of the requests. */
  readonly perMillion: number;
  readonly meters: MirrorMeters;
}

/** The cells of one cluster that gets copies. */
export interface MirrorMeters {
  /** Copies under way. It is the bound's own memory. */
  readonly active: Gauge;
  readonly answered: Counter;
  /** Answered with 5xx, or not at all. */
  readonly failed: Counter;
  /** The body did not get there in time, or the original's never ended. */
  readonly cutOff: Counter;
  /** Not made, because too many were under way. */
  readonly skipped: Counter;
}

export interface MirrorOptions {
  readonly targets: readonly MirrorTarget[];
  /** What x-remora-mirror of the copies says. */
  readonly routeName: string;
  readonly clock: Clock;
}

/**
 * Sends copies of requests to other clusters, and takes no notice of what becomes of them: the original neither waits for them
 * nor learns of their answers. Outside of retries: a request is copied once, however often it is sent. Tunnels are not copied.
 */
export function mirror(options: MirrorOptions): Layer {
  const { routeName, clock } = options;
  return (inner) => ({
    call(request, reply) {
      if (request.head.upgrade !== "") return inner.call(request, reply);
      const drawn = options.targets.filter((target) => isDrawn(target, clock));
      if (drawn.length === 0) return inner.call(request, reply);
      const copies = drawn.map((target) => new Copy(target, request, routeName));
      const { body } = request;
      if (body === null) {
        const call = inner.call(request, reply);
        for (const copy of copies) copy.start();
        return call;
      }
      const bodies = copies.flatMap((copy) => (copy.body === null ? [] : [copy.body]));
      request.body = new SharedBody(body, bodies);
      const call = inner.call(request, new OriginalReply(reply, bodies));
      for (const copy of copies) copy.start();
      return call;
    },
  });
}

function isDrawn({ perMillion, meters }: MirrorTarget, clock: Clock): boolean {
  if (perMillion < wholeMillion && clock.random() * wholeMillion >= perMillion) return false;
  if (meters.active.value < maxActiveMirrors) return true;
  meters.skipped.value++;
  return false;
}

/** With the original its body ends: what has not passed by then will not come. */
class OriginalReply implements Reply {
  readonly #reply: Reply;
  readonly #bodies: readonly MirroredBody[];

  constructor(reply: Reply, bodies: readonly MirroredBody[]) {
    this.#reply = reply;
    this.#bodies = bodies;
  }

  informational(head: ResponseHead): void {
    this.#reply.informational(head);
  }

  head(head: ResponseHead, body: BodySource | null): void {
    this.#reply.head(head, body);
  }

  end(error: ProxyError | null): void {
    for (const body of this.#bodies) body.cutOff();
    this.#reply.end(error);
  }
}

/** A copy under way. Its answer is read to its end and dropped. */
class Copy implements Reply {
  readonly body: MirroredBody | null;
  readonly #target: MirrorTarget;
  readonly #request: RequestContext;
  #status = 0;
  #isEnded = false;

  constructor(target: MirrorTarget, request: RequestContext, routeName: string) {
    this.#target = target;
    this.body = request.body === null ? null : new MirroredBody(request.body.length);
    // Before anything inside changes the head of the original.
    this.#request = request.fork(this.body);
    const { headers } = this.#request.head;
    headers.push("x-remora-mirror", routeName);
    // Whatever the original is: nobody waits for a copy, so it must not take the room of what somebody waits for.
    removeHeader(headers, priorityHeader);
    setPriority(this.#request, batchPriority);
    target.meters.active.value++;
  }

  start(): void {
    try {
      this.#target.service.call(this.#request, this);
    } catch {
      // A mistake of ours, too, is no business of the original's.
      this.end(defect);
    }
  }

  informational(): void {}

  head(head: ResponseHead, body: BodySource | null): void {
    this.#status = head.status;
    body?.attach(nowhere);
  }

  end(error: ProxyError | null): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    const { meters } = this.#target;
    meters.active.value--;
    if (this.body?.isCutOff === true) meters.cutOff.value++;
    else if (error !== null || this.#status >= 500) meters.failed.value++;
    else meters.answered.value++;
  }
}

const defect = new ProxyError("internal", "a mirrored request could not be sent");

const nowhere: BodySink = { write: () => true, end() {}, fail() {} };
