/** What load shedding has where its document is silent. */
export const loadSheddingDefaults = {
  // Batch leaves two fifths of the limit to others, and default enough for a burst of what is critical.
  defaultSharePercent: 85,
  batchSharePercent: 60,
  adaptive: {
    minLimit: 4, // Envoy: min_concurrency 3
    maxLimit: 1000, // Envoy: max_concurrency_limit
    tolerance: 1.5, // Netflix Gradient2: rttTolerance
    windowMs: 250, // Envoy's examples have 100 ms; longer, so that a quiet service has enough samples
  },
} as const;
