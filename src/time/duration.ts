/** Gateway API durations (GEP-2257): one to four of `<1-5 digits><h|m|s|ms>`, for example `1m30s`, `250ms`, `0s`. */
const pattern = /^([0-9]{1,5}(h|m|s|ms)){1,4}$/;
const part = /([0-9]{1,5})(ms|h|m|s)/g;
const unitMs: Readonly<Record<string, number>> = { h: 3_600_000, m: 60_000, s: 1000, ms: 1 };

/** Milliseconds, or undefined when the text is not a duration. */
export function parseDuration(text: string): number | undefined {
  if (!pattern.test(text)) return undefined;
  let total = 0;
  for (const [, digits, unit] of text.matchAll(part)) total += Number(digits) * (unitMs[unit ?? ""] ?? 0);
  return total;
}

/** The shortest exact text of a duration, for error texts and documents. */
export function formatDuration(ms: number): string {
  if (ms % 1000 !== 0 || ms === 0) return ms === 0 ? "0s" : `${ms}ms`;
  const seconds = ms / 1000;
  if (seconds % 3600 === 0) return `${seconds / 3600}h`;
  if (seconds % 60 === 0) return `${seconds / 60}m`;
  return `${seconds}s`;
}
