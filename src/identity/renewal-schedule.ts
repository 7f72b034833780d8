import { issuedAtMs } from "../../certs/validity.js";
import type { Svid } from "./svid.js";

/** How urgent it is that a leaf be renewed, by what is left of its life. */
export type LifeLevel = "ok" | "warning" | "error" | "expired";

/** Below these parts of life left somebody should look: renewal has then failed for hours. */
const warningLeft = 0.4;
const errorLeft = 0.15;
const retryMs = 30_000;

type Life = Pick<Svid, "notBeforeMs" | "notAfterMs">;

/** The part of its life that a leaf still has, 0..1. */
export function lifeLeft(svid: Life, nowMs: number): number {
  const issuedMs = issuedAtMs(svid);
  return Math.min(1, Math.max(0, (svid.notAfterMs - nowMs) / (svid.notAfterMs - issuedMs)));
}

export function lifeLevel(svid: Life, nowMs: number): LifeLevel {
  const left = lifeLeft(svid, nowMs);
  if (left === 0) return "expired";
  if (left <= errorLeft) return "error";
  return left <= warningLeft ? "warning" : "ok";
}

/**
 * When to renew first: uniform over 50-75 % of the life, so that services started together do not come together (Istio
 * renews at half, Linkerd at 70 %). Unix milliseconds.
 * @param random uniform in [0, 1)
 */
export function renewAtMs(svid: Life, random: number): number {
  const issuedMs = issuedAtMs(svid);
  return issuedMs + (svid.notAfterMs - issuedMs) * (0.5 + 0.25 * random);
}

/**
 * The wait after a failure: 30 s ± 20 %, but never more than a twentieth of the life, so that a leaf of seconds gets its
 * attempts too. Milliseconds.
 */
export function retryDelayMs(svid: Life | undefined, random: number): number {
  const lifeMs = svid === undefined ? Number.POSITIVE_INFINITY : svid.notAfterMs - issuedAtMs(svid);
  return Math.min(retryMs, lifeMs / 20) * (0.8 + 0.4 * random);
}
