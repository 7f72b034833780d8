/** The silence that a request may keep, instead of what server connections allow by themselves. */
export interface StreamIdleConfig {
  /** Longest silence in both directions while the request is under way, milliseconds; 0 = no limit. */
  readonly idleMs: number;
  /** The document that set it, for the error text. */
  readonly source: string;
}
