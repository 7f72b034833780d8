/** The figures of a report and how they come from measurements: pure. */
import type { LoadResult } from "./load.js";
import type { ProcessUsage } from "./process-usage.js";

/** One side of a pair under load. */
export interface SideMeasurement {
  readonly cpuUs: number;
  readonly rssBytes: number;
  readonly peakRssBytes: number;
}

/** One round of one data plane. */
export interface Round {
  readonly load: LoadResult;
  readonly outbound: SideMeasurement;
  readonly inbound: SideMeasurement;
  /** One connection. */
  readonly single: LoadResult;
  /** One connection straight to the application, right after. */
  readonly direct: LoadResult;
}

/** Medians of the rounds. */
export interface SideFigures {
  /** User and system time per request. */
  readonly cpuUsPerRequest: number;
  readonly idleRssBytes: number;
  readonly loadRssBytes: number;
  readonly peakRssBytes: number;
}

export interface Figures {
  readonly outbound: SideFigures;
  readonly inbound: SideFigures;
  readonly requests: number;
  readonly errors: number;
  /** Received by the load generator. */
  readonly bytes: number;
  readonly requestsPerSecond: number;
  readonly p50Us: number;
  readonly p99Us: number;
  /** With one connection. */
  readonly singleP50Us: number;
  /** The same, less what the application itself takes. */
  readonly addedP50Us: number;
}

export interface Idle {
  readonly outbound: ProcessUsage;
  readonly inbound: ProcessUsage;
}

/** Throws when there is no round. */
export function summarize(rounds: readonly Round[], idle: Idle): Figures {
  const middle = (value: (round: Round) => number): number => median(rounds.map(value));
  const side = (name: "outbound" | "inbound"): SideFigures => ({
    cpuUsPerRequest: middle((round) => round[name].cpuUs / Math.max(1, round.load.requests)),
    idleRssBytes: idle[name].rssBytes,
    loadRssBytes: middle((round) => round[name].rssBytes),
    peakRssBytes: Math.max(...rounds.map((round) => round[name].peakRssBytes)),
  });
  return {
    outbound: side("outbound"),
    inbound: side("inbound"),
    requests: total(rounds, ({ load, single }) => load.requests + single.requests),
    errors: total(rounds, ({ load, single }) => load.errors + single.errors),
    bytes: total(rounds, ({ load, single }) => load.bytes + single.bytes),
    requestsPerSecond: middle(({ load }) => (load.requests * 1e6) / load.durationUs),
    p50Us: middle(({ load }) => load.p50Us),
    p99Us: middle(({ load }) => load.p99Us),
    singleP50Us: middle(({ single }) => single.p50Us),
    addedP50Us: middle(({ single, direct }) => single.p50Us - direct.p50Us),
  };
}

function total(rounds: readonly Round[], value: (round: Round) => number): number {
  return rounds.reduce((sum, round) => sum + value(round), 0);
}

/** The mean of the middle two of an even number. Throws without values. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const upper = sorted[Math.floor(sorted.length / 2)];
  const lower = sorted[Math.floor((sorted.length - 1) / 2)];
  if (upper === undefined || lower === undefined) throw new Error("no values");
  return (upper + lower) / 2;
}

/** `sorted` in rising order, `share` 0..1; 0 without values. */
export function quantile(sorted: readonly number[], share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
}
