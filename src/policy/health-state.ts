import type { HealthCheckConfig } from "../config/health-check-config.js";

/** What one check knows of one endpoint. */
export interface HealthState {
  readonly isHealthy: boolean;
  /** Has it ever been healthy, or found not to be? Until then it is what the document says of new endpoints. */
  readonly isJudged: boolean;
  /** Results in a row that speak against `isHealthy`. */
  readonly contrary: number;
}

export function freshHealth({ initial }: Pick<HealthCheckConfig, "initial">): HealthState {
  return { isHealthy: initial === "healthy", isJudged: false, contrary: 0 };
}

/** The state after one more result. The first success of an endpoint that waits for one is enough. Pure. */
export function nextHealth(
  from: HealthState,
  hasPassed: boolean,
  {
    unhealthyThreshold,
    healthyThreshold,
  }: Pick<HealthCheckConfig, "unhealthyThreshold" | "healthyThreshold">,
): HealthState {
  if (hasPassed === from.isHealthy) return { ...from, isJudged: from.isJudged || hasPassed, contrary: 0 };
  const contrary = from.contrary + 1;
  const needed = from.isHealthy ? unhealthyThreshold : from.isJudged ? healthyThreshold : 1;
  // A new endpoint that begins to fail is not judged before the threshold either.
  if (contrary < needed) return { ...from, contrary };
  return { isHealthy: hasPassed, isJudged: true, contrary: 0 };
}
