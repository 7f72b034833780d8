/** The figures of work that consists of requests, and how they come from measurements: pure. */
import type { LoadResult } from "./load/load-result.js";
import { median } from "./median.js";
import type { Measured, PairUsage } from "./pair-usage.js";

/** Medians of the rounds. */
export interface SideFigures {
  /** User and system time per unit of work: request or MiB. */
  readonly cpuUsPerUnit: number;
  readonly idleRssBytes: number;
  readonly loadRssBytes: number;
  readonly peakRssBytes: number;
}

export interface RequestFigures {
  readonly outbound: SideFigures;
  readonly inbound: SideFigures;
  readonly requests: number;
  readonly errors: number;
  /** Received by the load generator. */
  readonly bytes: number;
  readonly requestsPerSecond: number;
  readonly p50Us: number;
  readonly p99Us: number;
}

/** @param unitsOf how much work was done in a round. */
export function sideFigures<T>(
  rounds: readonly Measured<T>[],
  idle: PairUsage,
  name: "outbound" | "inbound",
  unitsOf: (load: T) => number,
): SideFigures {
  return {
    cpuUsPerUnit: median(rounds.map((round) => round[name].cpuUs / Math.max(1e-6, unitsOf(round.load)))),
    idleRssBytes: idle[name].rssBytes,
    loadRssBytes: median(rounds.map((round) => round[name].rssBytes)),
    peakRssBytes: Math.max(...rounds.map((round) => round[name].peakRssBytes)),
  };
}

/** Throws when there is no round. */
export function requestFigures(rounds: readonly Measured<LoadResult>[], idle: PairUsage): RequestFigures {
  const requestsOf = ({ requests }: LoadResult): number => Math.max(1, requests);
  const middle = (value: (load: LoadResult) => number): number =>
    median(rounds.map(({ load }) => value(load)));
  const total = (value: (load: LoadResult) => number): number =>
    rounds.reduce((sum, { load }) => sum + value(load), 0);
  return {
    outbound: sideFigures(rounds, idle, "outbound", requestsOf),
    inbound: sideFigures(rounds, idle, "inbound", requestsOf),
    requests: total(({ requests }) => requests),
    errors: total(({ errors }) => errors),
    bytes: total(({ bytes }) => bytes),
    requestsPerSecond: middle(({ requests, durationUs }) => (requests * 1e6) / durationUs),
    p50Us: middle(({ p50Us }) => p50Us),
    p99Us: middle(({ p99Us }) => p99Us),
  };
}

/** Both sides together. */
export function cpuOf({ outbound, inbound }: Pick<RequestFigures, "outbound" | "inbound">): number {
  return outbound.cpuUsPerUnit + inbound.cpuUsPerUnit;
}

/** Why figures compare with nothing; undefined when they do. */
export function invalidityOf(
  { errors, requests, bytes }: Pick<RequestFigures, "errors" | "requests" | "bytes">,
  rounds: readonly Measured<LoadResult>[],
  leastReplyBytes: number,
): string | undefined {
  if (errors > 0) return `${errors} of ${requests} requests failed`;
  if (rounds.some(({ load }) => load.requests === 0)) return "a run ended without a reply";
  if (bytes < requests * leastReplyBytes)
    return `replies are incomplete: ${bytes} bytes in ${requests} replies`;
  return undefined;
}

/** A line for the progress: what a round cost. */
export function describeRound({ load, outbound, inbound }: Measured<LoadResult>): string {
  const cpu = (us: number): string => (us / Math.max(1, load.requests)).toFixed(1);
  return `${cpu(outbound.cpuUs)} + ${cpu(inbound.cpuUs)} us CPU per request`;
}
