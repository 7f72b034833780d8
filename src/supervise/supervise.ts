import { messageOf } from "../errors/message-of.js";
import { ConfigError } from "../errors/config-error.js";
import { sleep, type Clock, type Timer } from "../time/clock.js";
import { appEnvironment } from "./app-environment.js";
import { AppProcess } from "./app-process.js";
import { transition, type RunAction, type RunEvent, type RunState } from "./run-state.js";
import type { ProcessEvents, SuperviseLog, SupervisedSidecar } from "./supervised.js";

export interface SuperviseOptions {
  /** Starts the sidecar; rejects with the operator's mistake. */
  readonly start: () => Promise<SupervisedSidecar>;
  /** The application's command; undefined: somebody else starts it. */
  readonly command: readonly string[] | undefined;
  readonly env: NodeJS.ProcessEnv;
  /** Does the application accept connections? Never rejects. */
  readonly isAppListening: () => Promise<boolean>;
  /** Longest wait for the sidecar to be ready, milliseconds. */
  readonly readyTimeoutMs: number;
  /** Longest wait for the application to end after SIGTERM, milliseconds. */
  readonly stopTimeoutMs: number;
  readonly processEvents: ProcessEvents;
  readonly clock: Clock;
  readonly log: SuperviseLog;
}

/** How often the application's port is tried until it opens. */
const appProbeMs = 100;
/** How often somebody is told that it still has not. */
const appReminderMs = 10_000;
/** Waits between attempts to enter the registry. */
const announceRetry = { firstMs: 500, mostMs: 30_000 };
/** A registry that does not answer must not hold up the end. */
const closeTimeoutMs = 10_000;
/** Of the usual mistakes. */
const whyNotStarted: Readonly<Record<string, string>> = {
  ENOENT: "there is no such program on PATH",
  EACCES: "it is no program that this user may run (EACCES)",
};
/** What the application may use for its own purposes. */
const forwarded = ["SIGHUP", "SIGUSR1", "SIGUSR2"] as const;

/**
 * Runs a sidecar around an application for as long as the application lives, or until SIGTERM or SIGINT.
 *
 * @returns the exit code: the application's, 128 + signal when a signal ended it, 126 or 127 when it could not be started.
 * Rejects with what `start` rejected with, or with a ConfigError that names what was missing when the time to get ready was over.
 */
export function supervise(options: SuperviseOptions): Promise<number> {
  return new Supervisor(options).run();
}

class Supervisor {
  readonly #options: SuperviseOptions;
  readonly #hasApp: boolean;
  /** Aborts whatever waits for a state that is over. */
  readonly #stopping = new AbortController();
  readonly #listeners: [string, (...args: unknown[]) => void][] = [];
  #state: RunState = { state: "starting" };
  #sidecar: SupervisedSidecar | undefined;
  #app: AppProcess | undefined;
  #stopTimer: Timer | undefined;
  #startError: Error | undefined;
  #finish: (() => void) | undefined;

  constructor(options: SuperviseOptions) {
    this.#options = options;
    this.#hasApp = options.command !== undefined;
  }

  async run(): Promise<number> {
    const ended = new Promise<void>((resolve) => (this.#finish = resolve));
    this.#listen();
    void this.#start();
    await ended;
    for (const [name, listener] of this.#listeners) this.#options.processEvents.off(name, listener);
    if (this.#startError !== undefined) throw this.#startError;
    return this.#state.state === "ended" ? this.#state.exitCode : 1;
  }

  #dispatch(event: RunEvent): void {
    const before = this.#state.state;
    const { next, actions } = transition(this.#state, event, this.#hasApp);
    this.#state = next;
    if (next.state !== before && next.state !== "up") this.#stopping.abort();
    for (const action of actions) this.#act(action);
    if (next.state === "ended") this.#finish?.();
  }

  #act(action: RunAction): void {
    const { log, clock, stopTimeoutMs } = this.#options;
    switch (action) {
      case "start-app":
        return this.#startApp();
      case "announce":
        return void this.#announce();
      case "withdraw":
        log("info", "stopping: leaving the registry");
        return this.#step("withdrawn", (sidecar) => sidecar.withdraw());
      case "drain-inbound":
        return this.#step("drained", (sidecar) => sidecar.drainInbound());
      case "stop-app":
        log("info", "stopping the application");
        this.#app?.send("SIGTERM");
        this.#stopTimer = clock.timer(stopTimeoutMs, () => this.#dispatch({ kind: "stop-timeout" }));
        return;
      case "kill-app":
        log("warn", "killing the application");
        return this.#app?.send("SIGKILL");
      case "close":
        this.#stopTimer?.cancel();
        return this.#step("closed", (sidecar) =>
          Promise.race([sidecar.close(), sleep(clock, closeTimeoutMs)]),
        );
    }
  }

  /** A step of the stop; one that fails is told, and the next follows. */
  #step(done: "withdrawn" | "drained" | "closed", step: (sidecar: SupervisedSidecar) => Promise<void>): void {
    const sidecar = this.#sidecar;
    const work = sidecar === undefined ? Promise.resolve() : step(sidecar);
    work
      .catch((error: unknown) =>
        this.#options.log("error", `stopping: not ${done}`, { error: messageOf(error) }),
      )
      .finally(() => this.#dispatch({ kind: done }));
  }

  async #start(): Promise<void> {
    const { start, readyTimeoutMs, isAppListening, clock, log } = this.#options;
    const timedOut = new AbortController();
    const timer = clock.timer(readyTimeoutMs, () => {
      const missing = this.#sidecar?.missing.get() ?? ["certificate and listeners"];
      const error = new ConfigError(
        `the sidecar was not ready within ${readyTimeoutMs / 1000} s, missing: ${missing.join(", ")}; see its log and remora status, or raise the time`,
        { place: "--ready-timeout" },
      );
      this.#startFailed(error);
      timedOut.abort(error);
    });
    try {
      const sidecar = await start();
      this.#sidecar = sidecar;
      if (this.#state.state !== "starting") return await sidecar.close();
      await sidecar.missing.until(
        (missing) => missing.length === 0,
        AbortSignal.any([timedOut.signal, this.#stopping.signal]),
      );
      log("info", "sidecar ready", { identity: sidecar.identity });
      // A second copy, or what a `remora run` that was killed left behind. Once announced, its end would take the first one's
      // entry out of the registry.
      if (this.#hasApp && (await isAppListening()))
        throw new ConfigError(
          "something else listens there already: stop it, or correct the port (an application that is started elsewhere needs remora sidecar)",
          { place: "--port" },
        );
      this.#dispatch({ kind: "ready" });
    } catch (error: unknown) {
      this.#startFailed(error instanceof Error ? error : new Error(String(error)));
    } finally {
      timer.cancel();
    }
  }

  #startFailed(error: Error): void {
    if (this.#state.state !== "starting") return;
    this.#startError = error;
    this.#dispatch({ kind: "start-failed" });
  }

  #startApp(): void {
    const { command = [], env, log } = this.#options;
    const sidecar = this.#sidecar;
    if (sidecar === undefined) return;
    const { identity, ports, tcpUpstreams, workloadApi } = sidecar;
    this.#app = new AppProcess({
      command,
      environment: appEnvironment(env, { identity, tcpUpstreams, workloadApi, ...ports }),
      onExit: (exit) => {
        if (this.#state.state === "up")
          log(exit.code === 0 ? "info" : "warn", "the application has ended: so does the sidecar", {
            ...exit,
          });
        this.#dispatch({ kind: "app-exited", exit });
      },
      onSpawnFailed: (code) => {
        const why = whyNotStarted[code] ?? code;
        log("error", `cannot start ${command[0]}: ${why}; correct the command after --`);
        this.#dispatch({ kind: "spawn-failed", code });
      },
    });
  }

  /** When the application's port is open, and again for as long as the registry refuses. */
  async #announce(): Promise<void> {
    const { clock, log } = this.#options;
    const { signal } = this.#stopping;
    await this.#appListens(signal);
    for (
      let waitMs = announceRetry.firstMs;
      !signal.aborted;
      waitMs = Math.min(2 * waitMs, announceRetry.mostMs)
    ) {
      try {
        await this.#sidecar?.announce();
        return log("info", "the application takes requests from the mesh");
      } catch (error: unknown) {
        log("error", "the registry does not take this instance: peers do not find it", {
          error: messageOf(error),
        });
      }
      await sleep(clock, waitMs, signal);
    }
  }

  async #appListens(signal: AbortSignal): Promise<void> {
    const { clock, log, isAppListening } = this.#options;
    let remindAtMs = clock.monotonicMs() + appReminderMs;
    while (!signal.aborted && !(await isAppListening())) {
      if (clock.monotonicMs() >= remindAtMs) {
        log("warn", "the application does not listen at its port yet: no peer is told of it (--port)");
        remindAtMs = clock.monotonicMs() + appReminderMs;
      }
      await sleep(clock, appProbeMs, signal);
    }
  }

  #listen(): void {
    const { log } = this.#options;
    for (const signal of ["SIGTERM", "SIGINT"] as const)
      this.#on(signal, () => this.#dispatch({ kind: "stop", signal }));
    if (this.#hasApp) for (const signal of forwarded) this.#on(signal, () => this.#app?.send(signal));
    for (const event of ["uncaughtException", "unhandledRejection"])
      this.#on(event, (error) => {
        const stack = error instanceof Error ? error.stack : String(error);
        log("error", "the sidecar has crashed: stopping the application", { event, error: stack });
        this.#dispatch({ kind: "crashed" });
      });
  }

  #on(name: string, listener: (...args: unknown[]) => void): void {
    this.#listeners.push([name, listener]);
    this.#options.processEvents.on(name, listener);
  }
}
