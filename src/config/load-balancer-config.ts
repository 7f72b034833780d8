/** The choice of an endpoint. */
export interface LoadBalancerConfig {
  readonly policy: "round_robin" | "peak_ewma";
  /** Below this share of usable endpoints, in percent, ejection is ignored and all are used (panic). 0 = never. */
  readonly panicThresholdPercent: number;
}
