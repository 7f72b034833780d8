import { readFileSync } from "node:fs";

/** Where nobody tells how many descriptors there are: the usual hard limit of a service. */
const unknownDescriptors = 4096;
/** More connections than this are an attack or a leak, however many descriptors there are (linkerd2-proxy: 10,000). */
const mostConnections = 10_000;

/**
 * How many connections all listeners of a sidecar hold together. Half of the descriptors stay for connections to
 * upstreams and the application, files and the admin port: at the limit, what is open goes on (Envoy: less than half).
 */
export class ConnectionLimit {
  readonly max: number;
  #open = 0;

  constructor(max: number = defaultMax()) {
    this.max = max;
  }

  /** Takes a place; false when there is none. */
  take(): boolean {
    if (this.#open >= this.max) return false;
    this.#open++;
    return true;
  }

  give(): void {
    this.#open--;
  }
}

function defaultMax(): number {
  return Math.max(1, Math.min(mostConnections, Math.floor(descriptors() / 2) - 1));
}

/** The soft limit of open files of this process; node has raised it to the hard one when it started. */
function descriptors(): number {
  try {
    const [, soft] = /^Max open files\s+(\d+)/m.exec(readFileSync("/proc/self/limits", "utf8")) ?? [];
    return soft === undefined ? unknownDescriptors : Number(soft);
  } catch {
    // Not Linux.
    return unknownDescriptors;
  }
}
