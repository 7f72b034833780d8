/** Names of the gRPC statuses by their number ("Status codes and their use in gRPC"). */
export const grpcStatusNames = [
  "OK",
  "CANCELLED",
  "UNKNOWN",
  "INVALID_ARGUMENT",
  "DEADLINE_EXCEEDED",
  "NOT_FOUND",
  "ALREADY_EXISTS",
  "PERMISSION_DENIED",
  "RESOURCE_EXHAUSTED",
  "FAILED_PRECONDITION",
  "ABORTED",
  "OUT_OF_RANGE",
  "UNIMPLEMENTED",
  "INTERNAL",
  "UNAVAILABLE",
  "DATA_LOSS",
  "UNAUTHENTICATED",
] as const;

const [, ...failures] = grpcStatusNames;

/** Those of calls that have failed. */
export const grpcFailureNames = failures;

export type GrpcFailureName = (typeof grpcFailureNames)[number];

/** Number of a status, 1 to 16. */
export function grpcFailureNumber(name: GrpcFailureName): number {
  return grpcStatusNames.indexOf(name);
}
