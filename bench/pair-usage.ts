import { setTimeout as sleep } from "node:timers/promises";
import type { Pair } from "./data-plane.js";
import { processUsage, type ProcessUsage } from "./process-usage.js";

/** What both sides of a pair use. */
export interface PairUsage {
  readonly outbound: ProcessUsage;
  readonly inbound: ProcessUsage;
}

/** One side of a pair while something ran. */
export interface SideMeasurement {
  /** User and system time, microseconds. */
  readonly cpuUs: number;
  /** In the middle of it. */
  readonly rssBytes: number;
  /** The most since the process started. */
  readonly peakRssBytes: number;
}

/** What came out, and what it cost. */
export interface Measured<T> {
  readonly load: T;
  readonly outbound: SideMeasurement;
  readonly inbound: SideMeasurement;
}

/** Throws when a process is gone. */
export function pairUsage({ outboundPid, inboundPid }: Pair): PairUsage {
  return { outbound: processUsage(outboundPid), inbound: processUsage(inboundPid) };
}

/** Runs `load`, which takes about `seconds`, and reads what each side used meanwhile. */
export async function measureUnder<T>(
  pair: Pair,
  seconds: number,
  load: () => Promise<T>,
): Promise<Measured<T>> {
  const before = pairUsage(pair);
  const running = load();
  const middle = sleep((seconds * 1000) / 2).then(() => pairUsage(pair));
  const [result, during] = await Promise.all([running, middle]);
  const after = pairUsage(pair);
  const side = (name: keyof PairUsage): SideMeasurement => ({
    cpuUs: after[name].cpuUs - before[name].cpuUs,
    rssBytes: during[name].rssBytes,
    peakRssBytes: after[name].peakRssBytes,
  });
  return { load: result, outbound: side("outbound"), inbound: side("inbound") };
}
