/**
 * Bounds of what one HTTP/2 connection may cost. Bytes of heads count decoded: name + value + 32 per field (RFC 7541 §4.1).
 * Flood bounds are Envoy's; a peer that goes over one is told ENHANCE_YOUR_CALM and loses its connection.
 */
export interface Http2Limits {
  /** Streams that the peer may have open at once; further ones are refused (REFUSED_STREAM). */
  readonly maxConcurrentStreams: number;
  /** What a peer may send on a stream, and on all of them together, before it must wait for us. */
  readonly streamWindowBytes: number;
  readonly connectionWindowBytes: number;
  /**
   * Received and not yet taken by their consumers, all streams together; beyond it the connection window stays shut. Only where
   * the connection is one client's own: elsewhere that would make all wait for those that stall, so there each stream may hold
   * its window.
   */
  readonly maxHeldBytes: number;
  /** Largest frame payload we accept (SETTINGS_MAX_FRAME_SIZE). */
  readonly maxFrameBytes: number;
  /** Dynamic table of HPACK, for what the peer sends, and the most we use of what a peer offers for what we send. */
  readonly headerTableBytes: number;
  /** A request head over it: 431; a response head over it: 502. */
  readonly maxHeadBytes: number;
  readonly maxHeaders: number;
  readonly maxTargetBytes: number;
  readonly maxTrailerBytes: number;
  /** CONTINUATION frames of one head. */
  readonly maxContinuations: number;
  /** Frames that we owe the peer in answer to its own (acks, resets, response heads) and that it has not read yet. */
  readonly maxOwedFrames: number;
  /** Empty DATA, HEADERS or CONTINUATION frames without END_STREAM in a row. */
  readonly maxEmptyFrames: number;
  /** PRIORITY frames, for each stream ever opened. */
  readonly maxPriorityFrames: number;
  /** WINDOW_UPDATE frames, for each DATA frame that we sent, above a first hundred and two for each stream. */
  readonly maxWindowUpdates: number;
  /** SETTINGS, PING and unknown frames, each second. */
  readonly maxControlFrames: number;
  /** From this many streams on, a connection is closed when `maxResetPercent` of them were reset, by either side, young. */
  readonly minStreamsForResets: number;
  /** The same between sidecars, where the resets of all clients of a sidecar come together. */
  readonly minMeshStreamsForResets: number;
  readonly maxResetPercent: number;
  readonly youngStreamMs: number;
  /** How long its streams may still go on then. Between sidecars, where most of them are innocent, as long as they like. */
  readonly floodGraceMs: number;
  /** From the first GOAWAY to the one that names the last stream (RFC 9113 §6.8). */
  readonly goawayGraceMs: number;
  /** A connection in use that is silent for this long is asked for a sign of life, and dropped when none comes in the same time. */
  readonly pingMs: number;
}

export const http2Limits: Http2Limits = {
  maxConcurrentStreams: 100,
  streamWindowBytes: 256 * 1024,
  connectionWindowBytes: 1024 * 1024,
  maxHeldBytes: 4 * 1024 * 1024,
  maxFrameBytes: 16 * 1024,
  headerTableBytes: 4096,
  maxHeadBytes: 64 * 1024,
  maxHeaders: 200,
  maxTargetBytes: 60 * 1024,
  maxTrailerBytes: 16 * 1024,
  maxContinuations: 8,
  maxOwedFrames: 1000,
  maxEmptyFrames: 1,
  maxPriorityFrames: 100,
  maxWindowUpdates: 10,
  maxControlFrames: 1000,
  minStreamsForResets: 200,
  minMeshStreamsForResets: 4000,
  maxResetPercent: 50,
  youngStreamMs: 1000,
  floodGraceMs: 5000,
  goawayGraceMs: 1000,
  pingMs: 20_000,
};

/**
 * Between sidecars: a head or trailers that the first one let in must not be refused by the second for what was added on the way
 * (pseudo-headers, ids, marks, and 32 bytes a field that HTTP/1 does not count).
 */
export const meshHttp2Limits: Http2Limits = {
  ...http2Limits,
  maxHeadBytes: http2Limits.maxHeadBytes + 16 * 1024,
  maxHeaders: http2Limits.maxHeaders + 16,
  maxTrailerBytes: http2Limits.maxTrailerBytes + 8 * 1024,
};

/** Which bound a peer hit; a fixed set, used as a metric label. docs/protocols.md says what each means. */
export const http2LimitNames = [
  "streams",
  "head_bytes",
  "header_count",
  "target_bytes",
  "continuations",
  "owed_frames",
  "empty_frames",
  "priority_frames",
  "window_updates",
  "control_frames",
  "resets",
  "held_bytes",
  "ping_timeout",
  "settings_timeout",
  "protocol_error",
  "compression_error",
  "flow_control_error",
  "frame_size_error",
] as const;
export type Http2Limit = (typeof http2LimitNames)[number];

/** Told each time a peer hits a bound. */
export type LimitMeter = (limit: Http2Limit) => void;
