import type { Bootstrap } from "./config/bootstrap.js";
import type { Snapshot } from "./config/snapshot.js";
import { createAdsClient, type AdsClient } from "./discovery/ads-client.js";
import type { ControlPlaneChannel } from "./discovery/channel.js";
import { openSnapshotFile, type SnapshotFile } from "./discovery/snapshot-file.js";
import { LatestValue } from "./lifecycle/latest-value.js";
import type { DataPlane } from "./proxy/data-plane.js";
import { qualifiedService } from "./qualified-service.js";
import type { Log, Missing } from "./sidecar.js";
import type { Metrics } from "./telemetry/metrics.js";
import type { Clock } from "./time/clock.js";

export interface LinkOptions {
  readonly bootstrap: Bootstrap;
  readonly nodeId: string;
  readonly channel: ControlPlaneChannel;
  readonly plane: DataPlane;
  readonly metrics: Metrics;
  readonly clock: Clock;
  readonly log: Log;
}

/**
 * Keeps the data plane on the newest configuration: from the disk at once, from the control plane as it comes. Nothing that
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
    const { bootstrap, nodeId, channel, clock } = this.#options;
    const { service, namespace, protocol, upstreams, zone } = bootstrap;
    this.#ads = createAdsClient({
      client: channel.client,
      clock,
      node: {
        id: nodeId,
        service,
        namespace,
        protocol,
        zone,
        upstreams: upstreams.map((each) => qualifiedService(each.service, namespace)),
      },
      onSnapshot: (snapshot) => this.#apply(snapshot),
      onState: (state) => this.#stateChanged(state.connected, state.lastError),
    });
  }

  async close(): Promise<void> {
    this.#ads?.close();
    await this.#file.close();
  }

  async #loadSaved(): Promise<void> {
    const { plane, log } = this.#options;
    const saved = await this.#file.load();
    if (saved === undefined) return;
    try {
      plane.apply(saved.snapshot);
    } catch (error) {
      return log("warn", "saved configuration cannot be used", { error: String(error) });
    }
    this.#staleSinceMs = saved.savedAtMs;
    this.#appliedAtMs = saved.savedAtMs;
    this.missing.set([]);
    log("info", "serving the saved configuration until the control plane answers", {
      version: saved.snapshot.version,
    });
  }

  /** Throwing refuses the push: what is in force stays in force. */
  #apply(snapshot: Snapshot): void {
    const { plane, clock, log, metrics } = this.#options;
    const before = plane.snapshot?.version;
    plane.apply(snapshot);
    this.#staleSinceMs = undefined;
    this.#appliedAtMs = clock.wallMs();
    if (before === snapshot.version) return;
    this.#file.save(snapshot);
    metrics.configInfo.clear();
    metrics.configInfo.cell({ version: snapshot.version }).value = 1;
    if (this.missing.get().length > 0) this.missing.set([]);
    log("info", "configuration applied", { version: snapshot.version });
  }

  #stateChanged(isConnected: boolean, lastError: string | undefined): void {
    if (isConnected === this.#isConnected) return;
    this.#isConnected = isConnected;
    const { log, clock, bootstrap } = this.#options;
    if (isConnected)
      return log("info", "connected to the control plane", { address: bootstrap.controlPlane });
    this.#staleSinceMs ??= clock.wallMs();
    log("warn", "control plane lost: the last configuration stays in force", { error: lastError ?? "" });
  }
}
