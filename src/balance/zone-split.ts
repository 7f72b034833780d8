/** How many endpoints of a zone, or of several together, are there and how many may get traffic. */
export interface ZoneHealth {
  readonly open: number;
  readonly total: number;
}

/**
 * Share of the requests, 0 to 100 percent, that stay in the own zone. It keeps all while at least `spilloverPercent` of it is
 * usable; below that it keeps so much less as it has fewer endpoints, and the other zones take the rest. When these cannot
 * take it all, both get more, in proportion to what they can. Pure.
 * Source: Envoy, "Priority levels" and "Overprovisioning factor": 100 / spilloverPercent is that factor, 1.4 there.
 */
export function localPercent(own: ZoneHealth, others: ZoneHealth, spilloverPercent: number): number {
  const ownScore = score(own, spilloverPercent);
  const othersScore = score(others, spilloverPercent);
  if (othersScore === 0) return ownScore === 0 ? 0 : 100;
  const sum = ownScore + othersScore;
  return sum < 100 ? (ownScore * 100) / sum : ownScore;
}

/** 100: as good as whole. */
function score({ open, total }: ZoneHealth, spilloverPercent: number): number {
  if (open === 0) return 0;
  // In this order, and open / total is never rounded: 7 of 10 at 70 percent are exactly whole.
  return open * 100 >= total * spilloverPercent ? 100 : (open * 10_000) / (total * spilloverPercent);
}
