import type { ServiceCalls } from "./call-table.js";

/** What runs once a week has been seen by then. */
const enoughMs = 7 * 86_400_000;
/** Sidecars report every few seconds. */
const silentMs = 5 * 60_000;

/** What speaks against trusting the observation, one line each. */
export function doubtsOf(seen: ServiceCalls, nowMs: number): readonly string[] {
  const { sinceMs, lastReportMs, lost } = seen;
  const observedMs = lastReportMs - sinceMs;
  const doubts: string[] = [];
  if (observedMs < enoughMs)
    doubts.push(
      `observed for ${span(observedMs)} only: what is called once a day, a week or a month may not have been seen`,
    );
  if (nowMs - lastReportMs > silentMs)
    doubts.push(`no sidecar has reported for ${span(nowMs - lastReportMs)}: later calls were not seen`);
  if (lost > 0) doubts.push(`${lost} calls were not counted: there was no place for them`);
  return doubts;
}

/** A time in one unit, for sentences. */
export function span(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  if (seconds < 120) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 120) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h` : `${Math.floor(hours / 24)} days`;
}
