import { formatDuration } from "../time/duration.js";

/** Timers of a connection that requests come by, all in milliseconds. */
export interface ServerTimeouts {
  /** From the first byte of a head to its last; HTTP/2: also from accepting the connection to its preface. */
  readonly headMs: number;
  /** Without a request under way. */
  readonly idleMs: number;
  /**
   * Longest silence in both directions while a request is under way. Tunnels have a timer of their own, as requests have whose
   * route sets another time.
   */
  readonly streamIdleMs: number;
  /** How long what still comes is swallowed after the last reply, so that the client can read it. */
  readonly lingerMs: number;
}

/** What a request that was silent for too long is ended with. */
export function streamIdleText(idleMs: number): string {
  return `timer=stream_idle, value=${formatDuration(idleMs)}, source=default`;
}

export const serverTimeouts: ServerTimeouts = {
  headMs: 10_000,
  idleMs: 75_000,
  streamIdleMs: 300_000,
  lingerMs: 2000,
};
