import type { RouteConfig } from "./snapshot.js";

/** The clusters that a route may send requests to; "" for those that do not exist. */
export function clustersOf({ action, fallback }: RouteConfig): readonly string[] {
  if (action.type !== "forward") return [];
  return [
    ...action.backends.map(({ cluster }) => cluster),
    ...(action.mirrors ?? []).map(({ cluster }) => cluster),
    ...(fallback?.action.type === "service" ? [fallback.action.cluster] : []),
  ];
}
