/** The program of a worker process. A sidecar with more than one worker starts it, over a pipe; nobody else does. */
import type { Socket } from "node:net";
import { messageOf } from "./errors/message-of.js";
import type { MeshTrust } from "./identity/mesh-trust.js";
import type { Svid } from "./identity/svid.js";
import { LatestValue } from "./lifecycle/latest-value.js";
import type { ServiceCommand } from "./policy/breaker-command.js";
import { MetricsRegistry } from "./telemetry/registry.js";
import { systemClock } from "./time/clock.js";
import { TrafficSide } from "./traffic-side.js";
import { HandedSockets } from "./workers/handed-sockets.js";
import type { Answers, FromWorker, Question, ToWorker, WorkerStart } from "./workers/messages.js";

/** Whoever is not heard by now is gone too. */
const lastWordMs = 1000;

class Worker {
  readonly #certificates = new LatestValue<Svid | undefined>(undefined);
  readonly #trust = new LatestValue<MeshTrust>({ version: "", bundles: new Map(), revoked: new Set() });
  readonly #sockets = new HandedSockets((counts) => this.#send({ kind: "closed", counts }));
  #traffic: TrafficSide | undefined;
  #processMetrics: MetricsRegistry | undefined;

  received(message: ToWorker, socket: Socket | undefined): void {
    switch (message.kind) {
      case "start":
        return void this.#start(message);
      case "svid":
        return this.#certificates.set(message.svid);
      case "trust":
        return this.#trust.set(message.trust);
      case "snapshot":
        return this.#apply(message.snapshot);
      case "connection":
        this.#send({ kind: "taken", id: message.id });
        return this.#sockets.take(message.at, socket, message.allowsHalfOpen);
      case "ask":
        return void this.#answer(message);
    }
  }

  /** An exception that nobody caught: what this process knows is no longer certain, but what it has counted is. */
  crashed(error: unknown): void {
    const families = this.#traffic?.metrics.state() ?? new Map();
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    systemClock.timer(lastWordMs, () => process.exit(1));
    this.#send({ kind: "crashed", error: text, families }, () => process.exit(1));
  }

  async #start({ worker, bootstrap, nodeId, svid, trust, snapshot, overrides }: WorkerStart): Promise<void> {
    try {
      this.#certificates.set(svid);
      this.#trust.set(trust);
      const traffic = new TrafficSide({
        bootstrap,
        nodeId,
        certificates: this.#certificates,
        trust: this.#trust,
        listen: this.#sockets.listen,
        clock: systemClock,
        log: (level, message, fields = {}) => this.#send({ kind: "log", level, message, fields }),
      });
      this.#traffic = traffic;
      this.#processMetrics = new MetricsRegistry(traffic.metrics, { worker: String(worker) });
      if (snapshot !== undefined) traffic.apply(snapshot);
      for (const command of overrides) traffic.driveBreakers(command);
      await traffic.open(bootstrap.adminPort);
      this.#send({ kind: "ready" });
    } catch (error) {
      this.#send({ kind: "refused", message: messageOf(error) }, () => process.exit(1));
    }
  }

  #apply(snapshot: Parameters<TrafficSide["apply"]>[0]): void {
    let refusal: string | undefined;
    try {
      this.#traffic?.apply(snapshot);
    } catch (error) {
      refusal = messageOf(error);
    }
    this.#send({ kind: "applied", version: snapshot.version, error: refusal });
  }

  async #answer({ id, question, command }: ToWorker & { readonly kind: "ask" }): Promise<void> {
    const value = await this.#valueOf(question, command);
    this.#send({ kind: "answer", id, value }, () => {
      if (question === "close") process.exit(0);
    });
  }

  async #valueOf(question: Question, command: ServiceCommand | undefined): Promise<Answers[Question]> {
    const traffic = this.#traffic;
    switch (question) {
      case "alive":
        return true;
      case "metrics": {
        const process = (await this.#processMetrics?.processMetrics()) ?? [];
        traffic?.refresh();
        return { families: traffic?.metrics.state() ?? new Map(), process };
      }
      case "clusters":
        return traffic?.clusterViews() ?? [];
      case "calls":
        return traffic?.callsTaken() ?? { calls: [], lost: 0 };
      case "drive":
        if (traffic === undefined || command === undefined) return { isDone: false, text: "not started yet" };
        return traffic.driveBreakers(command);
      case "drain":
        await traffic?.drainInbound();
        return true;
      case "close":
        await traffic?.close();
        return true;
    }
  }

  #send(message: FromWorker, onSent: () => void = () => undefined): void {
    // Fails only when the primary is gone, and then so are we (disconnect).
    process.send?.(message, undefined, {}, onSent);
  }
}

const worker = new Worker();
process.on("message", (message, socket) =>
  worker.received(message as ToWorker, socket as Socket | undefined),
);
// A worker without its primary would hold connections that nobody knows of.
process.on("disconnect", () => process.exit(1));
for (const event of ["uncaughtException", "unhandledRejection"])
  process.on(event, (error: unknown) => worker.crashed(error));
// The terminal and service managers signal the whole group: the primary alone decides what is to be done.
for (const signal of ["SIGTERM", "SIGINT", "SIGHUP", "SIGUSR2"]) process.on(signal, () => undefined);
