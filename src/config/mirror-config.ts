/** A copy of a route's requests. */
export interface MirrorConfig {
  /** Name of a cluster. */
  readonly cluster: string;
  /** 0..1,000,000: share of the requests. */
  readonly perMillion: number;
}
