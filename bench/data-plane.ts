import type { Identities } from "./identities.js";
import type { Processes, Started } from "./processes.js";

/** What a data plane is started with. */
export interface Surroundings {
  /** Folder of its own, removed after the run. */
  readonly dir: string;
  readonly processes: Processes;
  /** Port on 127.0.0.1 of the application. */
  readonly appPort: number;
  readonly identities: Identities;
  /** Waits until the application answers through the port; throws when one of the processes dies or time is up. */
  readonly untilServing: (port: number, processes: readonly Started[]) => Promise<void>;
}

/** Two running sidecars: load -> outbound -> mTLS -> inbound -> application. */
export interface Pair {
  /** Port on 127.0.0.1 that the load goes to. */
  readonly port: number;
  /** Process ids. */
  readonly outboundPid: number;
  readonly inboundPid: number;
}

/** Something that carries traffic between two services. */
export interface DataPlane {
  readonly name: string;
  /** What stands beside its figures. */
  readonly note: string;
  /** Throws when it is not on this machine. */
  version(processes: Processes): Promise<string>;
  /** Resolves once traffic passes. Throws when the data plane is missing or does not start. */
  start(surroundings: Surroundings): Promise<Pair>;
}
