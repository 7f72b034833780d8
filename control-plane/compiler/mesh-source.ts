import { LatestValue } from "../../src/lifecycle/latest-value.js";
import type { Clock, Timer } from "../../src/time/clock.js";
import type { CatalogState } from "../catalog/catalog.js";
import type { OtherDatacenters } from "../catalog/other-datacenters.js";
import type { ConnectProtocols } from "../catalog/consul-protocols.js";
import type { Intentions } from "../catalog/intention.js";
import type { StoredDocument } from "../policy-store/stored-document.js";
import type { MeshModel } from "./mesh-model.js";

/** Endpoint changes wait this long for others of the same moment, and no longer: failing instances must be left fast. */
const endpointCoalesceMs = 10;
/** Documents are changed in bursts: they wait until nobody has changed one for this long … */
const documentQuietMs = 100;
/** … but never longer than this in all (Istio: PILOT_DEBOUNCE_AFTER and _MAX). */
const documentMaxMs = 1000;

/** Brings the registry and the documents together into one model, and decides when a change is passed on. */
export class MeshSource {
  /** undefined until the registry was read for the first time. */
  readonly model = new LatestValue<MeshModel | undefined>(undefined);
  readonly mesh: Pick<MeshModel, "trustDomain" | "datacenter" | "defaultAction">;
  readonly #clock: Clock;
  readonly #catalog: LatestValue<CatalogState | undefined>;
  readonly #documents: LatestValue<readonly StoredDocument[]>;
  readonly #intentions: LatestValue<Intentions | undefined> | undefined;
  readonly #connectProtocols: LatestValue<ConnectProtocols | undefined> | undefined;
  readonly #datacenters: LatestValue<OtherDatacenters | undefined> | undefined;
  readonly #stops: readonly (() => void)[];
  #catalogTimer: Timer | undefined;
  #documentTimer: Timer | undefined;
  #firstDocumentChangeMs: number | undefined;

  constructor(options: {
    /** Of the mesh's CA; and what becomes of requests that no policy speaks about. */
    readonly mesh: Pick<MeshModel, "trustDomain" | "datacenter" | "defaultAction">;
    readonly catalog: LatestValue<CatalogState | undefined>;
    readonly documents: LatestValue<readonly StoredDocument[]>;
    /** Nothing is passed on before they were read. Absent: nobody asks Consul. */
    readonly intentions?: LatestValue<Intentions | undefined> | undefined;
    /** Likewise. */
    readonly connectProtocols?: LatestValue<ConnectProtocols | undefined> | undefined;
    /** Likewise. */
    readonly datacenters?: LatestValue<OtherDatacenters | undefined> | undefined;
    readonly clock: Clock;
  }) {
    this.mesh = options.mesh;
    this.#clock = options.clock;
    this.#catalog = options.catalog;
    this.#documents = options.documents;
    this.#intentions = options.intentions;
    this.#connectProtocols = options.connectProtocols;
    this.#datacenters = options.datacenters;
    const consul = [
      options.intentions?.watch(() => this.#catalogChanged()),
      options.connectProtocols?.watch(() => this.#catalogChanged()),
      options.datacenters?.watch(() => this.#catalogChanged()),
    ];
    this.#stops = [
      ...consul.filter((stop) => stop !== undefined),
      options.catalog.watch(() => this.#catalogChanged()),
      options.documents.watch(() => this.#documentsChanged()),
    ];
    this.#publish(this.#documents.get());
  }

  /** Ends the watch; what was still waiting is not passed on. */
  close(): void {
    for (const stop of this.#stops) stop();
    this.#catalogTimer?.cancel();
    this.#documentTimer?.cancel();
  }

  #catalogChanged(): void {
    const published = this.model.get();
    // Nobody has a configuration yet: the first one goes out at once.
    if (published === undefined) return this.#publish(this.#documents.get());
    this.#catalogTimer ??= this.#clock.timer(endpointCoalesceMs, () => {
      this.#catalogTimer = undefined;
      // Documents that are still changing wait for their own timer.
      this.#publish((this.model.get() ?? published).documents);
    });
  }

  #documentsChanged(): void {
    if (this.model.get() === undefined) return;
    const nowMs = this.#clock.monotonicMs();
    this.#firstDocumentChangeMs ??= nowMs;
    const latestMs = this.#firstDocumentChangeMs + documentMaxMs - nowMs;
    this.#documentTimer?.cancel();
    this.#documentTimer = this.#clock.timer(Math.max(0, Math.min(documentQuietMs, latestMs)), () => {
      this.#documentTimer = undefined;
      this.#firstDocumentChangeMs = undefined;
      this.#catalogTimer?.cancel();
      this.#catalogTimer = undefined;
      this.#publish(this.#documents.get());
    });
  }

  #publish(documents: readonly StoredDocument[]): void {
    const catalog = this.#catalog.get();
    const intentions = this.#intentions?.get();
    const connectProtocols = this.#connectProtocols?.get();
    const datacenters = this.#datacenters?.get();
    if (catalog === undefined) return;
    if ([this.#intentions, this.#connectProtocols, this.#datacenters].some(isAwaited)) return;
    this.model.set({ ...this.mesh, catalog, intentions, connectProtocols, datacenters, documents });
  }
}

/** Asked for, and not read yet. */
function isAwaited(source: LatestValue<unknown> | undefined): boolean {
  return source !== undefined && source.get() === undefined;
}
