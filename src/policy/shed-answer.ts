import type { Upstream } from "../stack/upstream.js";
import { getHeader } from "../traffic/headers.js";

/**
 * Did the upstream's sidecar turn a request away for want of room, before its application saw it? A sidecar takes the field off
 * whatever the application says; others' word for it is not enough.
 */
export function wasShed(upstream: Upstream | undefined, headers: readonly string[]): boolean {
  return upstream?.config.meshed === true && getHeader(headers, "x-remora-error") === "overloaded";
}
