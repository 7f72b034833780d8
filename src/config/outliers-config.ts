/** Ejection of endpoints whose success rate is far below that of the others. */
export interface OutliersConfig {
  /** Endpoints with enough requests below which none is compared with the others. */
  readonly minHosts: number;
  /** Requests of an endpoint in the window below which it is neither judged nor counted among the others. */
  readonly minRequests: number;
  /** How many standard deviations below the mean it takes. */
  readonly stdevFactor: number;
}
