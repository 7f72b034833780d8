/** Envoy's words for gRPC statuses in retry_on, each with its status (Envoy, x-envoy-retry-grpc-on). */
export const grpcRetryWords = {
  cancelled: 1,
  "deadline-exceeded": 4,
  "resource-exhausted": 8,
  internal: 13,
  unavailable: 14,
} as const satisfies Readonly<Record<string, number>>;

export type GrpcRetryWord = keyof typeof grpcRetryWords;

/** The statuses that can be retried, in ascending order. */
export const retriableGrpcCodes: readonly number[] = Object.values(grpcRetryWords);

/** The word of each status; statuses without one are left out. */
export function grpcWordsOf(codes: readonly number[]): readonly string[] {
  return Object.entries(grpcRetryWords).flatMap(([word, code]) => (codes.includes(code) ? [word] : []));
}

/** The statuses that the words of a retry_on stand for, ascending; words for anything else are passed over. */
export function grpcCodesOf(words: readonly string[]): readonly number[] {
  return Object.entries(grpcRetryWords).flatMap(([word, code]) => (words.includes(word) ? [code] : []));
}
