import { messageOf } from "../errors/message-of.js";
import { ConfigError } from "../errors/config-error.js";
import type { Snapshot } from "../config/snapshot.js";
import type { ServiceCommand } from "../policy/breaker-command.js";
import type { MeshTrust } from "../identity/mesh-trust.js";
import type { Svid } from "../identity/svid.js";
import { sleep, type Clock, type Timer } from "../time/clock.js";
import type { Answers, FromWorker, Question, WorkerLogLevel } from "./messages.js";
import { watchForHang } from "./hung-worker.js";
import { spread } from "./spread.js";
import { WorkerProcess, type Handover, type WorkerProcessOptions } from "./worker-process.js";

export interface WorkerSetOptions {
  readonly program: URL;
  readonly count: number;
  /** What a worker that starts now begins with. */
  readonly start: () => WorkerProcessOptions["start"];
  readonly clock: Clock;
  readonly log: (level: WorkerLogLevel, message: string, fields: Readonly<Record<string, unknown>>) => void;
  /** So many connections have closed, or have ended with their worker. */
  readonly onClosed: (count: number) => void;
  /** A worker has become ready, has taken a snapshot or is gone. */
  readonly onChanged: () => void;
  readonly onGone: (worker: WorkerProcess) => void;
  readonly onCrashed: (worker: WorkerProcess, message: FromWorker & { kind: "crashed" }) => void;
}

/** Waits before a worker is replaced: doubled as long as they die young. */
const backoff = { firstMs: 100, mostMs: 10_000 };
/** Whoever lived this long did not die of how it was started. */
const longLifeMs = 10_000;
/** A worker has only to write its access log when it closes (line-writer.ts: a second). */
const closeTimeoutMs = 2000;

/** The workers of a sidecar: always `count` of them, or as many as can be started. */
export class WorkerSet {
  readonly #options: WorkerSetOptions;
  /** Index: number of the worker - 1. */
  readonly #workers: (WorkerProcess | undefined)[];
  /** How often in a row each has died young. */
  readonly #deaths: number[];
  readonly #restarts = new Set<Timer>();
  /** Accepted while no worker was ready. */
  #waiting: Handover[] = [];
  #turn = 0;
  #isClosed = false;
  #wasStarted = false;
  #started: { readonly resolve: () => void; readonly reject: (error: Error) => void } | undefined;

  constructor(options: WorkerSetOptions) {
    this.#options = options;
    this.#workers = Array.from({ length: options.count }, () => undefined);
    this.#deaths = this.#workers.map(() => 0);
  }

  /** Resolves when all are ready. Rejects with ConfigError when one of them finds a mistake of the operator. */
  start(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#started = { resolve, reject };
      for (let index = 0; index < this.#options.count; index++) this.#spawn(index);
    });
  }

  /** Those that there are now. */
  get workers(): readonly WorkerProcess[] {
    return this.#workers.filter((worker) => worker !== undefined);
  }

  get ready(): readonly WorkerProcess[] {
    return this.workers.filter(({ isReady }) => isReady);
  }

  /** Hands over a connection, at once or as soon as there is somebody to take it. */
  take(handover: Handover): void {
    if (this.#isClosed) return this.#drop(handover);
    const { ready } = this;
    const answering = ready.filter(({ state }) => state === "ready");
    const worker = spread(answering.length > 0 ? answering : ready, handover.at, this.#turn++);
    if (worker === undefined) this.#waiting.push(handover);
    else worker.take(handover);
  }

  renewed(svid: Svid): void {
    for (const worker of this.workers) worker.renewed(svid);
  }

  believe(trust: MeshTrust): void {
    for (const worker of this.workers) worker.believe(trust);
  }

  apply(snapshot: Snapshot): void {
    for (const worker of this.workers) worker.apply(snapshot);
  }

  /** Asks all at once. Who does not answer in time has none. */
  ask<Q extends Question>(
    question: Q,
    timeoutMs: number,
    command?: ServiceCommand,
  ): Promise<readonly (readonly [WorkerProcess, Answers[Q] | undefined])[]> {
    return Promise.all(
      this.ready.map(async (worker) => [worker, await worker.ask(question, timeoutMs, command)] as const),
    );
  }

  /** Ends them all, within a few seconds. */
  async close(): Promise<void> {
    this.#isClosed = true;
    for (const timer of this.#restarts) timer.cancel();
    for (const handover of this.#waiting.splice(0)) this.#drop(handover);
    const { workers } = this;
    await Promise.all(
      workers.map(async (worker) => {
        await worker.ask("close", closeTimeoutMs);
        const isOver = new AbortController();
        await Promise.race([worker.exited, sleep(this.#options.clock, closeTimeoutMs, isOver.signal)]);
        isOver.abort();
        worker.kill();
        await worker.exited;
      }),
    );
  }

  #spawn(index: number): void {
    const { program, count, start, clock } = this.#options;
    this.#workers[index] = new WorkerProcess({
      program,
      place: { worker: index + 1, count },
      start: start(),
      clock,
      onMessage: (worker, message) => this.#received(worker, message),
      onApplied: (worker, version, error) => {
        if (error !== undefined)
          this.#log(
            worker.place.worker,
            "error",
            "configuration refused: the one before stays in force there",
            {
              version,
              error,
            },
          );
        this.#options.onChanged();
      },
      onExit: (worker, how, undelivered) => this.#gone(worker, how, undelivered),
    });
  }

  #received(worker: WorkerProcess, message: FromWorker): void {
    switch (message.kind) {
      case "ready":
        for (const handover of this.#waiting.splice(0)) this.take(handover);
        if (this.ready.length === this.#options.count) this.#allStarted();
        void this.#watch(worker);
        return this.#options.onChanged();
      case "refused":
        // At the start it is the end of the sidecar, which tells why.
        if (!this.#wasStarted) return this.#started?.reject(new ConfigError(message.message));
        return this.#log(worker.place.worker, "error", "a worker cannot start", { error: message.message });
      case "closed":
        for (const count of message.counts.values()) this.#options.onClosed(count);
        return;
      case "log":
        return this.#log(worker.place.worker, message.level, message.message, message.fields);
      case "crashed":
        this.#log(worker.place.worker, "error", "a worker has crashed", { error: message.error });
        return this.#options.onCrashed(worker, message);
      default:
        return;
    }
  }

  /** What it was sent and has not taken goes to others, once it is gone. */
  async #watch(worker: WorkerProcess): Promise<void> {
    if ((await watchForHang(worker, this.#options.clock)) || this.#isClosed) return;
    this.#log(worker.place.worker, "error", "a worker does not answer any more: it is ended", {
      pid: worker.view.pid,
    });
    worker.kill();
  }

  #allStarted(): void {
    this.#wasStarted = true;
    this.#started?.resolve();
  }

  #gone(worker: WorkerProcess, how: string, undelivered: readonly Handover[]): void {
    const { clock, onClosed, onGone, onChanged } = this.#options;
    const index = worker.place.worker - 1;
    this.#workers[index] = undefined;
    const open = [...worker.connections.values()].reduce((sum, count) => sum + count, 0);
    onClosed(open - undelivered.length);
    onGone(worker);
    for (const handover of undelivered) this.take(handover);
    onChanged();
    if (this.#isClosed) return;
    const isYoung = clock.monotonicMs() - worker.startedAtMs < longLifeMs;
    if (!isYoung) this.#deaths[index] = 0;
    const inMs = this.#replaceLater(index);
    this.#log(worker.place.worker, "error", "a worker has ended unexpectedly: another one takes its place", {
      how,
      connections: open,
      inMs,
    });
  }

  /** @returns how long the place stays empty. */
  #replaceLater(index: number): number {
    const deaths = (this.#deaths[index] ?? 0) + 1;
    this.#deaths[index] = deaths;
    const inMs = Math.min(backoff.mostMs, backoff.firstMs * 2 ** (deaths - 1));
    const timer = this.#options.clock.timer(inMs, () => {
      this.#restarts.delete(timer);
      try {
        this.#spawn(index);
      } catch (error) {
        // No more processes or memory for now.
        const againInMs = this.#replaceLater(index);
        this.#log(index + 1, "error", "a worker cannot be started", { error: messageOf(error), againInMs });
      }
    });
    this.#restarts.add(timer);
    return inMs;
  }

  #drop({ socket }: Handover): void {
    socket.destroy();
    this.#options.onClosed(1);
  }

  #log(
    worker: number,
    level: WorkerLogLevel,
    message: string,
    fields: Readonly<Record<string, unknown>>,
  ): void {
    this.#options.log(level, message, { worker, ...fields });
  }
}
