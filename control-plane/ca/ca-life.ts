import { lifeLeft } from "../../src/identity/renewal-schedule.js";
import type { LatestValue } from "../../src/lifecycle/latest-value.js";
import type { Clock, Timer } from "../../src/time/clock.js";
import type { CaState } from "./ca-store.js";

/** Replacing a CA is work on every machine: it is planned, not done in a hurry. Of ten years: a year, and 110 days. */
export const caWarningLeft = 0.1;
export const caFailedLeft = 0.03;
const dayMs = 86_400_000;

/**
 * Tells every day that the CA which signs is near its end, from the start of the control plane on: leaves never outlive it.
 * @returns what ends it.
 */
export function watchCaLife(
  state: LatestValue<Pick<CaState, "active">>,
  clock: Clock,
  tell: (level: "warn" | "error", text: string) => void,
): () => void {
  let timer: Timer | undefined;
  const look = (): void => {
    const { certificate, intermediatesPem } = state.get().active;
    const left = lifeLeft(certificate, clock.wallMs());
    if (left <= caWarningLeft) {
      const what = intermediatesPem === "" ? "root" : "intermediate";
      const ends = new Date(certificate.notAfterMs).toISOString();
      const text = `the ${what} CA ends at ${ends}, and all certificates with it: replace it before that (docs/ca.md, Replace the CA)`;
      tell(left <= caFailedLeft ? "error" : "warn", text);
    }
    timer = clock.timer(dayMs, look);
  };
  look();
  return () => timer?.cancel();
}
