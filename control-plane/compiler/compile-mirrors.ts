import type { Route } from "../../src/config/documents/document.js";
import type { RouteFilter } from "../../src/config/documents/http-route-filter.js";
import type { RequestMirrorSpec } from "../../src/config/documents/request-mirror.js";
import type { MirrorConfig } from "../../src/config/mirror-config.js";
import { type MeshIndex, refKey, takesRequests } from "./mesh-index.js";

/** The mirrors of a rule; those whose service cannot take requests are left out, the conditions of the route say so. */
export function compileMirrors(
  index: MeshIndex,
  route: Route,
  filters: readonly RouteFilter[] | undefined,
): readonly MirrorConfig[] {
  return mirrorsOf(filters).flatMap((spec) => {
    const cluster = refKey(spec.backendRef, route);
    if (!index.services.has(cluster) || !takesRequests(index, cluster)) return [];
    return [{ cluster, perMillion: shareOf(spec) }];
  });
}

/** The RequestMirror filters among these. */
export function mirrorsOf(filters: readonly RouteFilter[] | undefined): readonly RequestMirrorSpec[] {
  return (filters ?? []).flatMap(({ requestMirror }) => (requestMirror === undefined ? [] : [requestMirror]));
}

function shareOf({ percent = 100, fraction }: RequestMirrorSpec): number {
  if (fraction === undefined) return percent * 10_000;
  return Math.round((fraction.numerator / fraction.denominator) * 1_000_000);
}
