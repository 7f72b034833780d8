import type { AdaptiveConcurrencyConfig } from "../config/load-shedding-config.js";
import { LatencyWindow } from "./latency-window.js";

/** What a new instance begins with; Netflix Gradient2: initialLimit 20. */
const firstLimit = 20;
/** A window with fewer samples goes on; Netflix WindowedLimit: windowSize 10. */
const minSamples = 10;
/** Part of what it shows that one window makes: a single odd one must not halve the limit. */
const smoothing = 0.5;
/** Least gradient; Envoy and Netflix: 0.5. */
const minGradient = 0.5;
/** The limit is brought down to this part of it to see the latency without a queue; BBRv2, ProbeRTT: half. */
const probeShare = 0.4;
const probeSamples = 15;
/** With a limit of one or two a probe may not find more in its time. */
const minProbeSamples = 5;
/** A probe that has not enough samples after so many windows is given up. */
const maxProbeWindows = 4;
/** Without news of the latency without a queue; Envoy's examples: min_rtt_calc_params.interval 60 s. */
const probeIntervalMs = 30_000;
/** While the last probe still found less than was known. */
const soonMs = 1000;
/** Windows in a row with next to the least gradient after which the known latency is doubted; Envoy: 5 at its least limit. */
const doubtWindows = 5;
const doubtGradient = 0.6;
/** Doubt that a probe does not bear out comes half as often the next time, down to this. */
const maxDoubtWindows = 40;
/** A probe whose latency is at least this part of the one before shows that there was no queue. */
const noQueueRatio = 0.8;

interface Probe {
  readonly startMs: number;
  /** The median before it. */
  readonly beforeMs: number;
  /** Most requests that may be under way for a sample to count. */
  readonly limit: number;
  /** Samples that have begun; the first `probeSamples` count, however long they take: the quickest alone would deceive. */
  begun: number;
  /** When the last of them began. */
  lastStartMs: number;
}

/**
 * How many requests may be under way at once so that none waits in the application, found from its latency alone.
 *
 * Each window: gradient = tolerance x latency without a queue / median latency, within 0.5..1; limit = limit x gradient + the
 * square root of the limit, which leaves room to grow and for a short queue. It grows only while it is in use. So it settles where
 * the latency is about `tolerance` times that without a queue: around `tolerance` times what the application serves at once.
 * Source: Envoy, adaptive_concurrency, gradient_controller.cc, and Netflix concurrency-limits, Gradient2Limit.
 *
 * The latency without a queue is taken from windows in which less than half of the limit is in use. Where there are none the
 * limit is brought down for a moment to measure it (Envoy: minRTT window; BBRv2: ProbeRTT). A higher latency than known is
 * believed only if it was the same before: then it is the application that has become slower, not a queue.
 *
 * Pure: time comes in with each call.
 */
export class GradientLimit {
  #config: AdaptiveConcurrencyConfig;
  readonly #random: () => number;
  readonly #window = new LatencyWindow();
  #limit: number;
  #baselineMs = 0;
  /** Median of the last window. */
  #medianMs = 0;
  #windowStartMs: number;
  /** Most requests under way in this window, and whether one was turned away. */
  #peak = 0;
  #isInUse = false;
  #probe: Probe | undefined;
  #nextProbeMs: number;
  /** Where the limit began to fall. */
  #fallsFrom = 0;
  /** Windows in a row that speak against the known latency, and how many it takes to doubt it. */
  #steepWindows = 0;
  #doubtAfter = doubtWindows;
  /** The last probe got no samples: what it spares takes all of the limit. */
  #sparesNobody = false;

  /** @param random uniform in [0, 1): instances must not all probe at once. */
  constructor(config: AdaptiveConcurrencyConfig, nowMs: number, random: () => number) {
    this.#config = config;
    this.#random = random;
    this.#windowStartMs = nowMs;
    this.#nextProbeMs = nowMs + soonMs;
    this.#limit = this.#bounded(firstLimit);
  }

  /** What was learned stays, within the new bounds. */
  configure(config: AdaptiveConcurrencyConfig): void {
    this.#config = config;
    this.#limit = this.#bounded(this.#limit);
  }

  /** For the most important requests: a probe spares them, as far as it can. */
  get limit(): number {
    if (this.#probe !== undefined && this.#sparesNobody) return this.#probe.limit;
    return Math.floor(this.#limit);
  }

  /** For all others: lower while a probe is under way. */
  get othersLimit(): number {
    return this.#probe?.limit ?? Math.floor(this.#limit);
  }

  /** Latency without a queue, milliseconds; 0 = not known yet. */
  get baselineMs(): number {
    return this.#baselineMs;
  }

  get isProbing(): boolean {
    return this.#probe !== undefined;
  }

  /** A request was let in; `active` are under way now, with it. */
  admitted(active: number, nowMs: number): void {
    if (active > this.#peak) this.#peak = active;
    const probe = this.#probe;
    if (probe === undefined || active > probe.limit || probe.begun === probeSamples) return;
    probe.begun++;
    probe.lastStartMs = nowMs;
  }

  /** A request was turned away. */
  refused(): void {
    this.#isInUse = true;
  }

  /**
   * A request that began at `startMs`, when `activeAtStart` were under way with it, was answered now. True when the limit may
   * have changed.
   */
  answered(startMs: number, activeAtStart: number, nowMs: number): boolean {
    const probe = this.#probe;
    if (probe === undefined || isSample(probe, startMs, activeAtStart)) this.#window.add(nowMs - startMs);
    if (probe !== undefined) return this.#judgeProbe(probe, nowMs);
    const isOver = nowMs - this.#windowStartMs >= this.#config.windowMs;
    if (!isOver || this.#window.count < minSamples) return false;
    this.#judgeWindow(nowMs);
    return true;
  }

  #judgeWindow(nowMs: number): void {
    const medianMs = this.#window.median();
    this.#medianMs = medianMs;
    if (this.#baselineMs === 0) this.#baselineMs = medianMs;
    if (this.#peak <= this.#limit / 2 && !this.#isInUse) this.#learnWithoutLoad(medianMs, nowMs);
    else if (medianMs < this.#baselineMs) {
      this.#baselineMs += (medianMs - this.#baselineMs) * smoothing;
      // There is still less to find.
      this.#nextProbeMs = Math.min(this.#nextProbeMs, this.#later(nowMs, soonMs));
    }
    this.#adjust(medianMs);
    const isDoubtful = this.#limit <= this.#fallsFrom / 2 || this.#steepWindows >= this.#doubtAfter;
    this.#beginWindow(nowMs);
    if (isDoubtful || nowMs >= this.#nextProbeMs) this.#beginProbe(nowMs);
  }

  /** Half of the limit is no queue. Up more slowly than down: it may be one after all. */
  #learnWithoutLoad(medianMs: number, nowMs: number): void {
    const part = medianMs < this.#baselineMs ? smoothing : smoothing / 2;
    this.#baselineMs += (medianMs - this.#baselineMs) * part;
    this.#nextProbeMs = this.#later(nowMs, probeIntervalMs);
  }

  #adjust(medianMs: number): void {
    const gradient = Math.min(1, (this.#config.tolerance * this.#baselineMs) / medianMs);
    const before = this.#limit;
    // Nobody knows whether a limit that is not in use is too low.
    if (gradient === 1 && this.#peak <= before / 2 && !this.#isInUse) return;
    const step = before * Math.max(minGradient, gradient) + Math.sqrt(before) - before;
    this.#limit = this.#bounded(before + (step > 0 ? step : step * smoothing));
    if (this.#limit >= before) this.#fallsFrom = this.#limit;
    this.#steepWindows = gradient < doubtGradient ? this.#steepWindows + 1 : 0;
  }

  #beginProbe(nowMs: number): void {
    const limit = Math.max(1, Math.floor(this.#limit * probeShare));
    const samples = { begun: 0, lastStartMs: nowMs };
    this.#probe = { startMs: nowMs, beforeMs: this.#medianMs, limit, ...samples };
  }

  #judgeProbe(probe: Probe, nowMs: number): boolean {
    const isLate = nowMs - probe.startMs >= maxProbeWindows * this.#config.windowMs;
    if (this.#window.count < probeSamples && !isLate) return false;
    const hasResult = this.#window.count >= minProbeSamples;
    const knownMs = this.#baselineMs;
    if (hasResult) this.#baselineMs = learned(this.#window.median(), knownMs, probe.beforeMs);
    this.#sparesNobody = !hasResult && !this.#sparesNobody;
    // Less than was known: there may be still less to find, now that the limit falls.
    const isSettled = hasResult && this.#baselineMs > knownMs * 0.95;
    this.#nextProbeMs = this.#later(nowMs, isSettled ? probeIntervalMs : soonMs);
    this.#probe = undefined;
    this.#fallsFrom = this.#limit;
    const isBorneOut = this.#baselineMs > knownMs;
    if (this.#steepWindows > 0)
      this.#doubtAfter = isBorneOut ? doubtWindows : Math.min(maxDoubtWindows, this.#doubtAfter * 2);
    this.#steepWindows = 0;
    this.#beginWindow(nowMs);
    return true;
  }

  #beginWindow(nowMs: number): void {
    this.#window.clear();
    this.#windowStartMs = nowMs;
    this.#peak = 0;
    this.#isInUse = false;
  }

  #later(nowMs: number, delayMs: number): number {
    return nowMs + delayMs * (0.85 + 0.3 * this.#random());
  }

  #bounded(limit: number): number {
    return Math.min(this.#config.maxLimit, Math.max(this.#config.minLimit, limit));
  }
}

/** What began before the probe has stood in the queue that it lets run empty. */
function isSample(probe: Probe, startMs: number, activeAtStart: number): boolean {
  return startMs >= probe.startMs && startMs <= probe.lastStartMs && activeAtStart <= probe.limit;
}

/** The latency without a queue after a probe. */
function learned(probedMs: number, knownMs: number, beforeMs: number): number {
  return probedMs < knownMs || probedMs >= beforeMs * noQueueRatio ? probedMs : knownMs;
}
