import type { BreakerHooks } from "../../src/proxy/cluster-breakers.js";
import { Counter } from "../../src/telemetry/cells.js";

/** For clusters whose breakers are not what the test is about. */
export function silentBreakers(): BreakerHooks {
  return {
    onService() {},
    onOverride() {},
    meters: () => ({ rejected: new Counter(), slowCalls: new Counter() }),
    onSlowAttempt() {},
  };
}
