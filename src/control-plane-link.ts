import type { Bootstrap } from "./config/bootstrap.js";
import type { Snapshot } from "./config/snapshot.js";
import { createAdsClient, type AdsClient, type AdsState } from "./discovery/ads-client.js";
import type { ControlPlaneChannel } from "./discovery/channel.js";
import type { TrustKeeper } from "./discovery/trust-keeper.js";
import { openSnapshotFile, type SnapshotFile } from "./discovery/snapshot-file.js";
import { LatestValue } from "./lifecycle/latest-value.js";
import { qualifiedService } from "./qualified-service.js";
import type { Log, Missing } from "./sidecar.js";
import type { Metrics } from "./telemetry/metrics.js";
import { exposeConfigVersion } from "./telemetry/process-metrics.js";
import type { Clock } from "./time/clock.js";

/** What a snapshot is put in force in. */
export interface ConfigTarget {
  /** undefined until the first one. */
  readonly snapshot: Snapshot | undefined;
  /** Throws ConfigError, with everything as it was, when the snapshot cannot be carried out. */
  apply(snapshot: Snapshot): void;
}

export interface LinkOptions {
  readonly bootstrap: Bootstrap;
  readonly nodeId: string;
  readonly channel: ControlPlaneChannel;
  readonly traffic: ConfigTarget;
  readonly trust: Pick<TrustKeeper, "trust" | "apply">;
  /** The control plane says that our certificate is no good. */
  readonly onCertificateRefused: () => void;
  readonly metrics: Metrics;
  readonly clock: Clock;
  readonly log: Log;
}

/** How grpc-js begins the message of that status. */
const unauthenticated = "16 UNAUTHENTICATED";
/** How often the log tells that the control plane still cannot be reached. */
const reminderMs = 60_000;

/**
 * Keeps the traffic on the newest configuration: from the disk at once, from the control plane as it comes. Nothing that
 * was in force is ever taken away because the control plane is not there.
 */
export class ControlPlaneLink {
  readonly missing = new LatestValue<Missing>(["configuration from the control plane"]);
  readonly #options: LinkOptions;
  readonly #file: SnapshotFile;
  #ads: AdsClient | undefined;
  #isConnected = false;
  #staleSinceMs: number | undefined;
  #appliedAtMs = 0;
  #nacks = 0;
  /** When it was logged last that the control plane cannot be reached, monotonic milliseconds. */
  #reminderAtMs = -Infinity;

  constructor(options: LinkOptions) {
    const { bootstrap, clock, log, metrics } = options;
    this.#options = options;
    this.#file = openSnapshotFile({
      stateDir: bootstrap.stateDir,
      clock,
      onProblem: (problem) => log("warn", problem),
    });
    metrics.xdsConnected.read({}, () => (this.#isConnected ? 1 : 0));
    metrics.snapshotStale.read({}, () => (this.#staleSinceMs === undefined ? 0 : 1));
    metrics.configAge.read({}, () =>
      this.#appliedAtMs === 0 ? 0 : (clock.wallMs() - this.#appliedAtMs) / 1000,
    );
  }

  /** Unix milliseconds since when no control plane confirms what is in force; undefined when one does. */
  get staleSinceMs(): number | undefined {
    return this.#staleSinceMs;
  }

  async start(): Promise<void> {
    await this.#loadSaved();
    const { bootstrap, nodeId, channel, clock, trust } = this.#options;
    const { service, namespace, protocol, upstreams, zone, redisUrl } = bootstrap;
    this.#ads = createAdsClient({
      client: channel.client,
      clock,
      node: {
        id: nodeId,
        service,
        namespace,
        protocol,
        zone,
        hasRedis: redisUrl !== undefined,
        upstreams: upstreams.map((each) => qualifiedService(each.service, namespace)),
      },
      onSnapshot: (snapshot) => this.#apply(snapshot),
      onTrust: (pushed) => trust.apply(pushed),
      trustVersion: () => trust.trust.get().version,
      onState: (state) => this.#stateChanged(state),
    });
  }

  async close(): Promise<void> {
    this.#ads?.close();
    await this.#file.close();
  }

  async #loadSaved(): Promise<void> {
    const { traffic, log } = this.#options;
    const saved = await this.#file.load();
    if (saved === undefined) return;
    try {
      traffic.apply(saved.snapshot);
    } catch (error) {
      return log("warn", "saved configuration cannot be used", { error: String(error) });
    }
    this.#staleSinceMs = saved.savedAtMs;
    this.#appliedAtMs = saved.savedAtMs;
    this.#inForce(saved.snapshot);
    log("info", "serving the saved configuration until the control plane answers", {
      version: saved.snapshot.version,
    });
  }

  /** Throwing refuses the push: what is in force stays in force. */
  #apply(snapshot: Snapshot): void {
    const { traffic, clock, log } = this.#options;
    const before = traffic.snapshot?.version;
    traffic.apply(snapshot);
    this.#staleSinceMs = undefined;
    this.#appliedAtMs = clock.wallMs();
    if (before === snapshot.version) return;
    this.#file.save(snapshot);
    this.#inForce(snapshot);
    log("info", "configuration applied", { version: snapshot.version });
  }

  #inForce(snapshot: Snapshot): void {
    exposeConfigVersion(this.#options.metrics, snapshot.version);
    if (this.missing.get().length > 0) this.missing.set([]);
  }

  #stateChanged({ connected, lastError, nacks }: AdsState): void {
    const { log, clock, bootstrap, metrics, onCertificateRefused } = this.#options;
    if (!connected && lastError?.startsWith(unauthenticated) === true) onCertificateRefused();
    if (nacks > this.#nacks) {
      metrics.xdsNacks.cell({}).value += nacks - this.#nacks;
      this.#nacks = nacks;
      log("error", "configuration refused: the one before stays in force", { error: lastError ?? "" });
    }
    if (connected === this.#isConnected) {
      if (!connected) this.#unreachable(lastError ?? "");
      return;
    }
    this.#isConnected = connected;
    this.#reminderAtMs = connected ? -Infinity : clock.monotonicMs();
    if (connected) return log("info", "connected to the control plane", { address: bootstrap.controlPlane });
    this.#staleSinceMs ??= clock.wallMs();
    log("warn", "control plane lost: the last configuration stays in force", { error: lastError ?? "" });
  }

  /** It is tried again several times a second. */
  #unreachable(error: string): void {
    const { log, bootstrap, clock } = this.#options;
    const nowMs = clock.monotonicMs();
    if (nowMs - this.#reminderAtMs < reminderMs) return;
    this.#reminderAtMs = nowMs;
    log("warn", "no connection to the control plane", { address: bootstrap.controlPlane, error });
  }
}
