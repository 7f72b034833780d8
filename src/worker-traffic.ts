import type { ClusterView, WorkerView } from "./admin/admin-view.js";
import { mergeClusters } from "./admin/merge-clusters.js";
import { BreakerOverrides } from "./breaker-overrides.js";
import type { Bootstrap } from "./config/bootstrap.js";
import type { Snapshot } from "./config/snapshot.js";
import { checkServed, type ServedCheck } from "./identity/served-check.js";
import type { TrustSource } from "./identity/mesh-trust.js";
import type { CertificateSource, Svid } from "./identity/svid.js";
import type { TakenCalls } from "./discovery/call-reporter.js";
import { loopbackOf } from "./inbound-side.js";
import { LatestValue } from "./lifecycle/latest-value.js";
import type { BreakerAnswer, ServiceCommand } from "./policy/breaker-command.js";
import type { ConnectionLimit } from "./proxy/connection-limit.js";
import { checkSnapshot } from "./proxy/data-plane.js";
import { prepareAuthorization } from "./proxy/authorization.js";
import { prepareRules } from "./proxy/inbound-rules.js";
import { Listener } from "./proxy/listener.js";
import type { Log, Missing } from "./sidecar.js";
import { watchEventLoop } from "./telemetry/event-loop.js";
import { Metrics } from "./telemetry/metrics.js";
import { exposeProcess } from "./telemetry/process-metrics.js";
import type { Clock } from "./time/clock.js";
import { TimerWheel } from "./time/timer-wheel.js";
import type { Traffic } from "./traffic.js";
import { version } from "./version.js";
import { WorkerMetrics } from "./workers/worker-metrics.js";
import type { WorkerProcess } from "./workers/worker-process.js";
import { WorkerSet } from "./workers/worker-set.js";

export interface WorkerTrafficOptions {
  readonly bootstrap: Bootstrap;
  readonly nodeId: string;
  /** Must hold an identity by now. */
  readonly certificates: CertificateSource;
  readonly trust: TrustSource;
  /** Of the connections to all listeners and workers together. */
  readonly limit: ConnectionLimit;
  readonly workers: number;
  readonly clock: Clock;
  readonly log: Log;
}

const loopback = "127.0.0.1";
/** A worker that is well answers within milliseconds; a scraper waits for 10 s. */
const answerTimeoutMs = 1000;
/** A drain ends by itself at its timeout; what comes after that is a worker that hangs. */
const drainMarginMs = 1000;
const starting: Missing = ["worker processes"];

/**
 * The traffic of a sidecar in several processes. This one accepts the connections and hands them over; it reads none.
 */
export class WorkerTraffic implements Traffic {
  readonly missing = new LatestValue<Missing>(starting);
  readonly metrics = new Metrics();
  readonly registry: WorkerMetrics<WorkerProcess>;
  readonly #options: WorkerTrafficOptions;
  readonly #wheel: TimerWheel;
  readonly #set: WorkerSet;
  readonly #eventLoop: { close(): void };
  readonly #upstreams = new Map<string, Listener>();
  readonly #stopFollowing: () => void;
  readonly #silent = new Set<WorkerProcess>();
  readonly #overrides: BreakerOverrides;
  #adminPort = 0;
  #inbound: Listener | undefined;
  #outbound: Listener | undefined;
  #snapshot: Snapshot | undefined;
  /** Have all workers had a snapshot in force? */
  #wasReady = false;

  constructor(options: WorkerTrafficOptions) {
    const { certificates, trust, clock, workers, limit, log } = options;
    this.#options = options;
    this.#wheel = new TimerWheel(clock);
    this.#overrides = new BreakerOverrides(clock);
    this.registry = new WorkerMetrics(this.metrics, () => this.#ask("metrics"));
    this.#set = new WorkerSet({
      program: new URL("./worker-main.js", import.meta.url),
      count: workers,
      start: () => this.#start(),
      clock,
      log,
      onClosed: (count) => {
        for (let i = 0; i < count; i++) limit.give();
      },
      onChanged: () => this.#changed(),
      onGone: (worker) => {
        this.metrics.workerRestarts.cell({}).value++;
        this.#silent.delete(worker);
        this.registry.gone(worker);
      },
      onCrashed: (worker, { families }) => this.registry.lastWord(worker, families),
    });
    const stops = [
      certificates.watch((svid) => {
        if (svid !== undefined) this.#set.renewed(svid);
      }),
      trust.watch((now) => this.#set.believe(now)),
    ];
    this.#stopFollowing = () => stops.forEach((stop) => stop());
    exposeProcess(clock, this.metrics, version);
    this.metrics.workers.cell({ state: "configured" }).value = workers;
    this.metrics.workers.read({ state: "alive" }, () => this.#set.ready.length);
    this.#eventLoop = watchEventLoop(clock, this.metrics);
  }

  get ports(): Traffic["ports"] {
    return {
      inbound: this.#inbound?.port ?? 0,
      outbound: this.#outbound?.port,
      upstreams: new Map([...this.#upstreams].map(([service, { port }]) => [service, port])),
    };
  }

  get snapshot(): Snapshot | undefined {
    return this.#snapshot;
  }

  async open(adminPort: number): Promise<void> {
    this.#adminPort = adminPort;
    const { inboundAddress, inboundPort, outboundPort, upstreams } = this.#options.bootstrap;
    this.#inbound = await this.#listen("--inbound", inboundAddress, inboundPort);
    for (const { service, port } of upstreams)
      this.#upstreams.set(service, await this.#listen("--upstream", loopback, port));
    if (outboundPort !== undefined) this.#outbound = await this.#listen("--outbound", loopback, outboundPort);
    await this.#set.start();
  }

  /** Workers carry out what passes here: it is the same code that judges. */
  apply(snapshot: Snapshot): void {
    if (this.#snapshot?.version === snapshot.version) return;
    prepareRules(snapshot.inbound.rules);
    prepareAuthorization(snapshot.inbound.authorization);
    checkSnapshot(snapshot, { clock: this.#options.clock, wheel: this.#wheel });
    this.#snapshot = snapshot;
    this.#set.apply(snapshot);
  }

  /** The limits shown are those of the service, not of one worker. */
  async clusters(): Promise<readonly ClusterView[]> {
    const views = (await this.#ask("clusters")).map(([, view]) => view ?? []);
    const configs = new Map((this.#snapshot?.clusters ?? []).map((config) => [config.name, config]));
    return mergeClusters(views).map((view) => {
      const config = configs.get(view.name);
      if (config === undefined) return view;
      const { maxRequests: max_requests, maxConnections: max_connections } = config;
      return { ...view, settings: { ...view.settings, max_requests, max_connections } };
    });
  }

  async takeCalls(): Promise<TakenCalls> {
    const taken = (await this.#ask("calls")).flatMap(([, each]) => (each === undefined ? [] : [each]));
    return {
      calls: taken.flatMap(({ calls }) => calls),
      lost: taken.reduce((sum, { lost }) => sum + lost, 0),
    };
  }

  async drive(command: ServiceCommand): Promise<BreakerAnswer> {
    const answers = await this.#set.ask("drive", answerTimeoutMs, command);
    const told = answers.map(([, answer]) => answer).filter((answer) => answer !== undefined);
    const done = told.filter(({ isDone }) => isDone);
    const { workers } = this.#options;
    // Whoever begins later is told too, unless nobody could carry it out.
    if (done.length > 0) this.#overrides.add(command);
    const answer = done[0] ?? told[0] ?? { isDone: false, text: "no worker process answers" };
    const isWhole = told.length === workers && (done.length === workers || done.length === 0);
    return isWhole ? answer : { ...answer, text: `${answer.text} (in ${done.length} of ${workers} workers)` };
  }

  workers(): readonly WorkerView[] {
    const now = new Map(this.#set.workers.map((worker) => [worker.place.worker, worker.view]));
    return Array.from({ length: this.#options.workers }, (_, index) => {
      const worker = index + 1;
      return now.get(worker) ?? { worker, pid: 0, state: "gone", configVersion: "", connections: {} };
    });
  }

  /** So many handshakes at once that each worker gets one: whoever has one to take is the last to get another. */
  async checkServed(svid: Svid): Promise<ServedCheck> {
    const { bootstrap, clock } = this.#options;
    if (this.#inbound === undefined || this.#snapshot?.inbound.mtlsMode === "DISABLE") return { ok: true };
    const target = { address: loopbackOf(bootstrap.inboundAddress), port: this.#inbound.port };
    const checks = await Promise.all(this.#set.ready.map(() => checkServed(target, svid, clock)));
    return checks.find(({ ok }) => !ok) ?? { ok: true };
  }

  async drainInbound(): Promise<void> {
    this.#inbound?.close();
    await this.#set.ask("drain", this.#options.bootstrap.drainTimeoutMs + drainMarginMs);
  }

  async close(): Promise<void> {
    this.#stopFollowing();
    this.#eventLoop.close();
    for (const listener of [this.#inbound, this.#outbound, ...this.#upstreams.values()]) listener?.close();
    await this.#set.close();
  }

  async #listen(flag: string, address: string, wanted: number): Promise<Listener> {
    const listener: Listener = await Listener.open({
      flag,
      address,
      port: wanted,
      limit: this.#options.limit,
      isForOthers: true,
      onSocket: (socket) => this.#set.take({ socket, at: `${address}:${listener.port}` }),
    });
    return listener;
  }

  /** Whoever begins now begins with the newest of everything, at the ports that are open. */
  #start() {
    const { bootstrap, nodeId, certificates, trust } = this.#options;
    const svid = certificates.get();
    if (svid === undefined) throw new Error("no identity yet");
    const { inbound, outbound, upstreams } = this.ports;
    return {
      bootstrap: {
        ...bootstrap,
        adminPort: this.#adminPort,
        inboundPort: inbound,
        outboundPort: outbound,
        upstreams: bootstrap.upstreams.map(({ service, port }) => ({
          service,
          port: port === 0 ? (upstreams.get(service) ?? 0) : port,
        })),
      },
      nodeId,
      svid,
      trust: trust.get(),
      snapshot: this.#snapshot,
      overrides: this.#overrides.present(),
    };
  }

  async #ask<Q extends "metrics" | "clusters" | "calls">(question: Q) {
    const answers = await this.#set.ask(question, answerTimeoutMs);
    for (const [worker, answer] of answers) this.#heard(worker, answer !== undefined);
    return answers;
  }

  /** The log names a worker once when it falls silent. */
  #heard(worker: WorkerProcess, hasAnswered: boolean): void {
    if (hasAnswered) return void this.#silent.delete(worker);
    if (this.#silent.has(worker) || worker.view.state !== "silent") return;
    this.#silent.add(worker);
    const { worker: number, pid } = worker.view;
    this.#options.log("warn", "a worker does not answer: the admin API shows what the others say", {
      worker: number,
      pid,
    });
  }

  /** All must be ready at first; later on, whoever is left serves. */
  #changed(): void {
    const ready = this.#set.ready.filter(({ configVersion }) => configVersion !== "").length;
    if (ready === this.#options.workers) this.#wasReady = true;
    const missing = (this.#wasReady ? ready > 0 : ready === this.#options.workers) ? [] : starting;
    if (missing.length !== this.missing.get().length) this.missing.set(missing);
  }
}
