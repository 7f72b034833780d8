import { status, type Client, type ServiceError } from "@grpc/grpc-js";
import type { LatestValue } from "../lifecycle/latest-value.js";
import type { ObservedCall } from "../policy/call-recorder.js";
import { sleep, type Clock, type Timer } from "../time/clock.js";
import { connectFailure } from "./connect-failure.js";
import { maxCallsInReport, observationService, type CallReport } from "./proto/observation.js";
import { unaryCall } from "./unary-call.js";

/** What was called since the last time. */
export interface TakenCalls {
  readonly calls: readonly ObservedCall[];
  /** Calls that there was no place for. */
  readonly lost: number;
}

export interface CallReporterOptions {
  /** gRPC client to the control plane; a new one at each certificate rotation. Not closed here. */
  readonly client: LatestValue<Client | undefined>;
  readonly everyMs: number;
  /** Everything since the last time; it begins anew. */
  readonly take: () => Promise<TakenCalls>;
  readonly clock: Clock;
  /** One line, for the log, when reports begin to fail. */
  readonly onProblem: (text: string) => void;
}

export interface CallReporter {
  /** Tells what is left, waits at most a second for the answer, and stops for good. */
  close(): Promise<void>;
}

const answerTimeoutMs = 5000;
const closeTimeoutMs = 1000;
/** What waits for a control plane that is not there. */
const maxWaiting = 4096;
const maxCount = 0xffff_ffff;

/**
 * Tells the control plane every `everyMs`, with jitter, what was called. What could not be told is told with the next; while
 * nobody hears it, it is summed up within a bound.
 */
export function reportCalls(options: CallReporterOptions): CallReporter {
  const { client, everyMs, take, clock, onProblem } = options;
  let waiting: TakenCalls = { calls: [], lost: 0 };
  let isFailing = false;
  let isClosed = false;
  let running: Promise<void> | undefined;
  let timer: Timer;

  const send = async (timeoutMs: number): Promise<void> => {
    waiting = together(waiting, await take());
    // Also when nothing was called: silence is not the same as nobody looking.
    do {
      const present = client.get();
      if (present === undefined) return;
      const part = { calls: waiting.calls.slice(0, maxCallsInReport), lost: waiting.lost };
      const error = await tell(present, part, { clock, timeoutMs });
      if (error !== undefined && !isFailing) onProblem(connectFailure(error.details));
      isFailing = error !== undefined;
      if (error !== undefined && !isRefusal(error)) return;
      // Nobody repeats what was refused: it would be refused again.
      waiting = { calls: waiting.calls.slice(maxCallsInReport), lost: 0 };
    } while (waiting.calls.length > 0);
  };
  const run = (timeoutMs: number): Promise<void> =>
    (running = (running ?? Promise.resolve()).then(() => send(timeoutMs)).catch(() => undefined));
  const wait = (): void => {
    // Sidecars that were started together do not tell together.
    timer = clock.timer(everyMs * (0.75 + clock.random() / 2), () => {
      void run(answerTimeoutMs).then(() => {
        if (!isClosed) wait();
      });
    });
  };
  wait();

  return {
    async close() {
      if (isClosed) return;
      isClosed = true;
      timer.cancel();
      const isOver = new AbortController();
      await Promise.race([run(closeTimeoutMs), sleep(clock, closeTimeoutMs, isOver.signal)]);
      isOver.abort();
    },
  };
}

/** What became of it, when it did not arrive. */
function tell(
  client: Client,
  { calls, lost }: TakenCalls,
  limits: { readonly clock: Clock; readonly timeoutMs: number },
): Promise<ServiceError | undefined> {
  const message: CallReport = { calls, lost: Math.min(lost, maxCount) };
  return unaryCall(client, observationService.Report, message, limits).then(
    () => undefined,
    (error: unknown) => error as ServiceError,
  );
}

/** A control plane of another version, or one that does not take this report whoever sends it. */
function isRefusal({ code }: ServiceError): boolean {
  return code === status.INVALID_ARGUMENT || code === status.UNIMPLEMENTED;
}

function together(before: TakenCalls, now: TakenCalls): TakenCalls {
  let lost = before.lost + now.lost;
  const sums = new Map<string, ObservedCall>();
  for (const call of [...before.calls, ...now.calls]) {
    const { caller, method, path, port, protocol, verdict, rule, count } = call;
    const key = JSON.stringify([caller, method, path, port, protocol, verdict, rule]);
    const known = sums.get(key);
    if (known === undefined && sums.size >= maxWaiting) lost += count;
    else sums.set(key, { ...call, count: Math.min(maxCount, count + (known?.count ?? 0)) });
  }
  return { calls: [...sums.values()], lost };
}
