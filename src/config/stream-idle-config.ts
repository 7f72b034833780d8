/** The silence that a request or a tunnel may keep, instead of what it may by default. */
export interface StreamIdleConfig {
  /** Longest silence in both directions while it is under way, milliseconds; 0 = no limit. */
  readonly idleMs: number;
  /** The document that set it, for the error text. */
  readonly source: string;
}
