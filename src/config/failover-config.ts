/** Where the requests of a cluster go when its own endpoints cannot take them. */
export interface FailoverConfig {
  /** Names of clusters, the first with a usable endpoint is taken. Their own failover does not count here. */
  readonly clusters: readonly string[];
  /** 0..100: below this share of usable endpoints the cluster itself is passed over. 0: only with none left. */
  readonly thresholdPercent: number;
}
