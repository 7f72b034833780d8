/** A request that a sidecar makes by itself, to find out whether an endpoint can serve. */
export interface HealthCheckConfig {
  readonly probe: HealthProbeConfig;
  /** Between two checks of an endpoint, spread by a fifth to both sides. */
  readonly intervalMs: number;
  /** The same while the endpoint is unhealthy. */
  readonly unhealthyIntervalMs: number;
  readonly timeoutMs: number;
  /** Failures in a row that make a healthy endpoint unhealthy, >= 1. */
  readonly unhealthyThreshold: number;
  /** Successes in a row that make an unhealthy endpoint healthy, >= 1. */
  readonly healthyThreshold: number;
  /** What a new endpoint is until its first verdict. */
  readonly initial: "healthy" | "unhealthy";
}

export type HealthProbeConfig =
  | {
      readonly type: "http";
      readonly method: string;
      readonly path: string;
      readonly host: string;
      /** Ranges of good statuses, both ends included. */
      readonly statuses: readonly (readonly [from: number, to: number])[];
    }
  /** grpc.health.v1.Health/Check. @see https://github.com/grpc/grpc/blob/master/doc/health-checking.md */
  | { readonly type: "grpc"; readonly service: string; readonly host: string }
  /** A connection comes about. */
  | { readonly type: "tcp" };
