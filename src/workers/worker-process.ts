import { fork, type ChildProcess } from "node:child_process";
import type { Socket } from "node:net";
import type { WorkerView } from "../admin/admin-view.js";
import type { Snapshot } from "../config/snapshot.js";
import type { ServiceCommand } from "../policy/breaker-command.js";
import type { MeshTrust } from "../identity/mesh-trust.js";
import type { Svid } from "../identity/svid.js";
import type { Clock } from "../time/clock.js";
import type { Answers, FromWorker, Question, ToWorker, WorkerStart } from "./messages.js";
import { shareOf, type Place } from "./share.js";

/** A connection on its way to a worker. */
export interface Handover {
  readonly socket: Socket;
  /** address:port of the listener that it came from. */
  readonly at: string;
}

export interface WorkerProcessOptions {
  /** The program of a worker. */
  readonly program: URL;
  readonly place: Place;
  readonly start: Omit<WorkerStart, "kind" | "worker">;
  readonly clock: Clock;
  /** All but answers and `applied`. */
  readonly onMessage: (worker: WorkerProcess, message: FromWorker) => void;
  /** Another snapshot is in force in it, or was refused. */
  readonly onApplied: (worker: WorkerProcess, version: string, error: string | undefined) => void;
  /** It is gone, with what was on its way to it. */
  readonly onExit: (worker: WorkerProcess, how: string, undelivered: readonly Handover[]) => void;
}

/** One worker from its start to its end, as the primary sees it. */
export class WorkerProcess {
  readonly place: Place;
  readonly startedAtMs: number;
  /** Resolves when the process is gone. */
  readonly exited: Promise<void>;
  /** Key: address:port of the listener. */
  readonly connections = new Map<string, number>();
  readonly #options: WorkerProcessOptions;
  readonly #child: ChildProcess;
  /** Connections that it was sent and has not taken. Key: id of the message. */
  readonly #handovers = new Map<number, Handover>();
  /** Answers that are waited for. Key: id of the message. */
  readonly #asked = new Map<
    number,
    { readonly question: Question; readonly done: (value: unknown) => void }
  >();
  #lastId = 0;
  #state: WorkerView["state"] = "starting";
  #configVersion: string;
  /** The snapshot that it has not confirmed yet, and the newest one after that. */
  #isApplying = false;
  #next: Snapshot | undefined;

  constructor(options: WorkerProcessOptions) {
    const { program, place, start, clock } = options;
    this.#options = options;
    this.place = place;
    this.startedAtMs = clock.monotonicMs();
    this.#configVersion = start.snapshot?.version ?? "";
    // Its log lines come as messages; the access log is written where ours would be.
    this.#child = fork(program, {
      serialization: "advanced",
      stdio: ["ignore", "inherit", "inherit", "ipc"],
    });
    // Emitted when it could not be started, or a message could not be sent: its exit tells more.
    this.#child.on("error", () => undefined);
    this.#child.on("message", (message) => this.#received(message as FromWorker));
    this.exited = new Promise((resolve) => {
      let how = "";
      const isOver = (): void => {
        // What it has said before its end is in the pipe until the pipe's end.
        if (how === "" || this.#child.connected || this.#state === "gone") return;
        this.#gone(how);
        resolve();
      };
      this.#child.once("exit", (code, signal) => {
        how = signal ?? `exit code ${code}`;
        isOver();
      });
      this.#child.once("disconnect", isOver);
      this.#child.once("error", (error) => {
        if (this.#child.pid !== undefined) return;
        how = error.message;
        isOver();
      });
    });
    const snapshot = start.snapshot === undefined ? undefined : shareOf(start.snapshot, place);
    this.#send({ kind: "start", ...start, snapshot, worker: place.worker });
  }

  /** Connections that it was sent and has not taken. */
  get handing(): number {
    return this.#handovers.size;
  }

  get isReady(): boolean {
    return this.#state === "ready" || this.#state === "silent";
  }

  get state(): WorkerView["state"] {
    return this.#state;
  }

  get configVersion(): string {
    return this.#configVersion;
  }

  get view(): WorkerView {
    return {
      worker: this.place.worker,
      pid: this.#child.pid ?? 0,
      state: this.#state,
      configVersion: this.#configVersion,
      connections: Object.fromEntries(this.connections),
    };
  }

  renewed(svid: Svid): void {
    this.#send({ kind: "svid", svid });
  }

  believe(trust: MeshTrust): void {
    this.#send({ kind: "trust", trust });
  }

  /** Level-triggered: of several while it is at work on one, only the newest is sent. */
  apply(snapshot: Snapshot): void {
    if (this.#isApplying) return void (this.#next = snapshot);
    this.#isApplying = true;
    this.#send({ kind: "snapshot", snapshot: shareOf(snapshot, this.place) });
  }

  /** Gives it a connection that was not read from. */
  take(handover: Handover): void {
    const { socket, at } = handover;
    this.connections.set(at, (this.connections.get(at) ?? 0) + 1);
    const id = ++this.#lastId;
    this.#handovers.set(id, handover);
    const message: ToWorker = { kind: "connection", id, at, allowsHalfOpen: socket.allowHalfOpen };
    // Ours stays open until the worker has its own.
    this.#child.send(message, socket, { keepOpen: true }, () => undefined);
  }

  /**
   * undefined when it does not answer within `timeoutMs` or is gone. While it owes an answer, it is not asked again;
   * commands are different each time.
   */
  ask<Q extends Question>(
    question: Q,
    timeoutMs: number,
    command?: ServiceCommand,
  ): Promise<Answers[Q] | undefined> {
    return new Promise((resolve) => {
      const isOwing =
        command === undefined && [...this.#asked.values()].some((each) => each.question === question);
      if (this.#state === "gone" || isOwing) return resolve(undefined);
      const id = ++this.#lastId;
      const timer = this.#options.clock.timer(timeoutMs, () => {
        if (this.#state === "ready") this.#state = "silent";
        if (command !== undefined) this.#asked.delete(id);
        resolve(undefined);
      });
      const done = (value: unknown): void => {
        timer.cancel();
        resolve(value as Answers[Q] | undefined);
      };
      this.#asked.set(id, { question, done });
      this.#send({ kind: "ask", id, question, command });
    });
  }

  kill(): void {
    this.#child.kill("SIGKILL");
  }

  #send(message: ToWorker): void {
    // An error means that it is about to be gone.
    this.#child.send(message, () => undefined);
  }

  #received(message: FromWorker): void {
    if (this.#state === "silent") this.#state = "ready";
    switch (message.kind) {
      case "answer":
        this.#asked.get(message.id)?.done(message.value);
        return void this.#asked.delete(message.id);
      case "applied":
        return this.#applied(message.version, message.error);
      case "taken":
        this.#handovers.get(message.id)?.socket.destroy();
        return void this.#handovers.delete(message.id);
      case "closed":
        for (const [at, count] of message.counts)
          this.connections.set(at, (this.connections.get(at) ?? 0) - count);
        break;
      case "ready":
        this.#state = "ready";
        break;
      default:
        break;
    }
    this.#options.onMessage(this, message);
  }

  #applied(version: string, error: string | undefined): void {
    const next = this.#next;
    this.#isApplying = false;
    this.#next = undefined;
    if (error === undefined) this.#configVersion = version;
    this.#options.onApplied(this, version, error);
    if (next !== undefined) this.apply(next);
  }

  #gone(how: string): void {
    this.#state = "gone";
    for (const { done } of this.#asked.values()) done(undefined);
    this.#asked.clear();
    const undelivered = [...this.#handovers.values()];
    this.#handovers.clear();
    this.#options.onExit(this, how, undelivered);
  }
}
