import path from "node:path";
import type { RemoraMesh } from "../planes/remora-mesh.js";
import type { Processes, Started } from "../processes.js";

/** What one process of a fleet does. */
export interface FleetPart {
  readonly controlPlane: string;
  /** Folder of the control plane: its CA issues the certificates. */
  readonly dataDir: string;
  /** Sidecars `s<first>` and on. */
  readonly first: number;
  readonly count: number;
  /** Each enters itself into the embedded registry. */
  readonly isRegistered: boolean;
  /** Each opens its config stream. */
  readonly isSubscribed: boolean;
  readonly upstreams: readonly string[];
}

/** What a process of a fleet prints. */
export type FleetLine =
  | { readonly kind: "registered" }
  | {
      readonly kind: "applied";
      readonly version: string;
      /** When the last of its sidecars had it: process.hrtime, which all processes of a machine share. */
      readonly atNs: string;
      /** Received since the line before. */
      readonly bytes: number;
      /** Received since the line before, by type. */
      readonly resources: Readonly<Record<string, number>>;
    };

/** A version that all sidecars have come to. */
export interface Applied {
  readonly version: string;
  readonly atNs: bigint;
  readonly bytes: number;
  readonly resources: ReadonlyMap<string, number>;
}

export interface FleetOptions extends Pick<FleetPart, "isRegistered" | "isSubscribed" | "upstreams"> {
  readonly mesh: Pick<RemoraMesh, "listen" | "dataDir" | "controlPlane">;
  readonly processes: Processes;
  readonly count: number;
  readonly processCount: number;
  readonly timeoutMs: number;
}

type AppliedLine = Extract<FleetLine, { readonly kind: "applied" }>;

/** Sidecars' streams, spread over a few processes. */
export class Fleet {
  readonly #options: FleetOptions;
  readonly #parts: { readonly started: Started; readonly lines: AppliedLine[]; isRegistered: boolean }[] = [];
  #onLine: () => void = () => {};

  constructor(options: FleetOptions) {
    this.#options = options;
    const { mesh, processes, count, processCount, isRegistered, isSubscribed, upstreams } = options;
    const script = path.join(import.meta.dirname, "fleet-part.js");
    const share = Math.ceil(count / processCount);
    for (let first = 0; first < count; first += share) {
      const part: FleetPart = {
        ...{ controlPlane: mesh.listen, dataDir: mesh.dataDir, isRegistered, isSubscribed, upstreams },
        ...{ first, count: Math.min(share, count - first) },
      };
      const started = processes.start(`sidecars from ${first}`, process.execPath, [
        script,
        JSON.stringify(part),
      ]);
      const entry = { started, lines: [] as AppliedLine[], isRegistered: false };
      started.onLine((text) => {
        const line = JSON.parse(text) as FleetLine;
        if (line.kind === "registered") entry.isRegistered = true;
        else entry.lines.push(line);
        this.#onLine();
      });
      this.#parts.push(entry);
    }
  }

  /** Every sidecar is in the registry. */
  async untilRegistered(): Promise<void> {
    await this.#until("registered", () => this.#parts.every(({ isRegistered }) => isRegistered));
  }

  /** Forgets what was applied so far. */
  reset(): void {
    for (const { lines } of this.#parts) lines.length = 0;
  }

  /** The next version that all sidecars have come to since reset(); with it, all that was received on the way. */
  async untilApplied(): Promise<Applied> {
    await this.#until("at one version", () => {
      const versions = this.#parts.map(({ lines }) => lines.at(-1)?.version);
      return versions[0] !== undefined && versions.every((version) => version === versions[0]);
    });
    const lines = this.#parts.flatMap((part) => part.lines);
    const resources = new Map<string, number>();
    for (const line of lines)
      for (const [type, count] of Object.entries(line.resources))
        resources.set(type, (resources.get(type) ?? 0) + count);
    return {
      version: lines.at(-1)?.version ?? "",
      atNs: lines.map(({ atNs }) => BigInt(atNs)).reduce((a, b) => (a > b ? a : b), 0n),
      bytes: lines.reduce((sum, line) => sum + line.bytes, 0),
      resources,
    };
  }

  async stop(): Promise<void> {
    await Promise.all(this.#parts.map(({ started }) => started.stop()));
  }

  #until(what: string, isTrue: () => boolean): Promise<void> {
    const { timeoutMs, count, mesh } = this.#options;
    return new Promise((resolve, reject) => {
      const finish = (settle: () => void): void => {
        clearTimeout(timer);
        clearInterval(watch);
        this.#onLine = () => {};
        settle();
      };
      const timer = setTimeout(
        () => finish(() => reject(new Error(`${count} sidecars were not ${what} within ${timeoutMs} ms`))),
        timeoutMs,
      );
      const watch = setInterval(() => {
        try {
          for (const { started } of [...this.#parts, { started: mesh.controlPlane }]) started.assertAlive();
        } catch (error) {
          finish(() => reject(error instanceof Error ? error : new Error(String(error))));
        }
      }, 500);
      this.#onLine = () => {
        if (isTrue()) finish(resolve);
      };
      this.#onLine();
    });
  }
}
