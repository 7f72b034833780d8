/**
 * Chooses by weight: each has the share weight / sum. `random` is uniform in [0, 1) (Clock.random). Weights are >= 0 and
 * may be fractions (Consul's splitter has them). undefined when there is none with a weight.
 */
export function pickWeighted<B extends { readonly weight: number }>(
  backends: readonly B[],
  random: number,
): B | undefined {
  if (backends.length === 1) {
    const only = backends[0] as B;
    return only.weight > 0 ? only : undefined;
  }
  let sum = 0;
  for (const backend of backends) sum += backend.weight;
  let rest = random * sum;
  let last: B | undefined;
  for (const backend of backends) {
    if (backend.weight <= 0) continue;
    last = backend;
    rest -= backend.weight;
    if (rest < 0) return backend;
  }
  // Rounding may leave a crumb after the last one.
  return last;
}
