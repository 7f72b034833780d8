import type { Http2Limit, Http2Limits } from "./limits.js";

/** WINDOW_UPDATE frames that are free: a peer opens its windows before it has got anything. */
const freeWindowUpdates = 100;
const controlWindowMs = 1000;

/**
 * Counts what costs a peer little and us much (CVE-2019-9511 to 9518, CVE-2023-44487, CVE-2025-8671). Pure: each method
 * notes one event, and gives the limit that the peer went over, or null.
 * Source: Envoy, "HTTP/2 flood mitigation", Http2ProtocolOptions.
 */
export class FloodGuard {
  readonly #limits: Http2Limits;
  readonly #minStreams: number;
  #streams = 0;
  #recentStreams = 0;
  #recentResets = 0;
  #emptyFrames = 0;
  #priorityFrames = 0;
  #windowUpdates = 0;
  #dataFramesSent = 0;
  #lateResets = 0;
  #controlFrames = 0;
  #controlSinceMs = -Infinity;

  constructor(limits: Http2Limits, isShared: boolean) {
    this.#limits = limits;
    this.#minStreams = isShared ? limits.minMeshStreamsForResets : limits.minStreamsForResets;
  }

  streamOpened(): void {
    this.#streams++;
    // Half of the past is forgotten now and then: a long good life must not pay for a flood.
    if (++this.#recentStreams < 2 * this.#minStreams) return;
    this.#recentStreams /= 2;
    this.#recentResets /= 2;
  }

  /** A stream of this age was reset by the peer, or by us because of what the peer sent on it. */
  streamReset(ageMs: number): Http2Limit | null {
    const { youngStreamMs, maxResetPercent } = this.#limits;
    if (ageMs >= youngStreamMs) return null;
    this.#recentResets++;
    if (this.#recentStreams < this.#minStreams) {
      // More resets than streams: frames on streams that are long over.
      return this.#recentResets > this.#minStreams ? "resets" : null;
    }
    return this.#recentResets * 100 > maxResetPercent * this.#recentStreams ? "resets" : null;
  }

  /**
   * RST_STREAM came for a stream that is over: what crossed its end. Each stream may have one, or on a shared connection those of
   * many clients, whose uploads are answered early, would add up to a flood.
   */
  lateReset(nowMs: number): Http2Limit | null {
    return ++this.#lateResets <= this.#streams ? null : this.controlFrame(nowMs);
  }

  /** DATA, HEADERS or CONTINUATION came; `isEmpty`: it had neither content nor END_STREAM. */
  contentFrame(isEmpty: boolean): Http2Limit | null {
    if (!isEmpty) this.#emptyFrames = 0;
    else if (++this.#emptyFrames > this.#limits.maxEmptyFrames) return "empty_frames";
    return null;
  }

  /** SETTINGS, PING, or a frame of an unknown type came. */
  controlFrame(nowMs: number): Http2Limit | null {
    if (nowMs - this.#controlSinceMs >= controlWindowMs) {
      this.#controlSinceMs = nowMs;
      this.#controlFrames = 0;
    }
    return ++this.#controlFrames > this.#limits.maxControlFrames ? "control_frames" : null;
  }

  priorityFrame(): Http2Limit | null {
    const allowed = this.#limits.maxPriorityFrames * (1 + this.#streams);
    return ++this.#priorityFrames > allowed ? "priority_frames" : null;
  }

  windowUpdate(): Http2Limit | null {
    const allowed =
      freeWindowUpdates + 2 * this.#streams + this.#limits.maxWindowUpdates * this.#dataFramesSent;
    return ++this.#windowUpdates > allowed ? "window_updates" : null;
  }

  /** We sent DATA frames. */
  dataSent(frames: number): void {
    this.#dataFramesSent += frames;
  }
}
