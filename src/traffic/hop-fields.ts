import { getHeader, nameIs } from "./headers.js";

/** What sidecars tell each other of a request, beside its identity, in fields of its head. */

/**
 * Milliseconds that are left for the request. Envoy's name and meaning (router filter), so that Envoy peers and applications that
 * know it understand us, and we them; relative, so that clocks need not agree.
 */
export const timeLeftField = "x-envoy-expected-rq-timeout-ms";

/** Which attempt this is of what the application may have seen, from 2 on: the request repeats one that failed. */
export const attemptField = "x-remora-attempt";

/** On a response: `spent` = a hop behind has retried already, or had no retries left to spend. */
export const retriesField = "x-remora-retries";
const spent = "spent";

const maxAttempt = 9999;

/** Milliseconds, 0 = none is left; Infinity when the value is none that Envoy would write. */
export function parseTimeLeftMs(text: string): number {
  return /^[0-9]{1,10}$/.test(text) ? Number(text) : Infinity;
}

/** Never more than is left. @param leftMs below 0 = nothing is left. */
export function formatTimeLeft(leftMs: number): string {
  return `${Math.max(0, Math.floor(leftMs))}`;
}

/** 1, which is the first attempt, when the value is no higher one. */
export function parseAttempt(text: string): number {
  return /^[0-9]{1,4}$/.test(text) ? Math.max(1, Math.min(maxAttempt, Number(text))) : 1;
}

/** Marks a response; once. */
export function markRetriesSpent(headers: string[]): void {
  if (!hasSpentRetries(headers)) headers.push(retriesField, spent);
}

export function hasSpentRetries(headers: readonly string[]): boolean {
  return getHeader(headers, retriesField) === spent;
}

/** The trace that a request belongs to (W3C Trace Context §3.2, traceparent): its trace-id; "" without one that is valid. */
export function traceIdOf(headers: readonly string[]): string {
  for (let i = 0; i < headers.length; i += 2) {
    if (!nameIs(headers[i] as string, "traceparent")) continue;
    const value = headers[i + 1] as string;
    const isValid = /^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}/.test(value);
    const id = isValid ? value.slice(3, 35) : "";
    return id === noTrace ? "" : id;
  }
  return "";
}

const noTrace = "0".repeat(32);
