import { z } from "zod";
import { type GrpcRetryWord, grpcRetryWords } from "../grpc-retry-words.js";
import { byteSize, choice, duration, notSupported } from "./field.js";

/** Words of Envoy's retry_on that are about connections and HTTP statuses. */
const statusRetryWords = [
  "connect-failure",
  "refused-stream",
  "reset",
  "gateway-error",
  "retriable-4xx",
] as const;
const grpcRetryWordList = Object.keys(grpcRetryWords) as GrpcRetryWord[];
const laterRetryWords = [
  "5xx",
  "reset-before-request",
  "retriable-status-codes",
  "retriable-headers",
  "envoy-ratelimited",
  "http3-post-connect-failure",
];

/** `retry` of a TrafficPolicy: retries of routes that say nothing themselves. */
export const PolicyRetry = z.strictObject({
  codes: z
    .array(z.int().min(400).max(599))
    .max(64)
    .optional()
    .describe("Response statuses that are retried, 400-599."),
  attempts: z.int().min(1).max(10).optional().describe("Further attempts after the first, 1-10."),
  backoff: z
    .strictObject({
      base: duration()
        .optional()
        .describe("Upper bound of the first wait; it doubles with each attempt, with full jitter."),
      max: duration().optional().describe("Upper bound of any wait."),
    })
    .optional()
    .describe("Waiting between attempts."),
  methods: z
    .array(z.string().regex(/^[A-Z][A-Z-]{0,31}$/, { error: "must be a method in upper case, like GET" }))
    .max(16)
    .optional()
    .describe("Methods that may be sent again after the upstream may have worked on them."),
  bufferLimit: byteSize()
    .optional()
    .describe("Request bytes kept for sending again, at most 1MiB; a longer body is not retried."),
  on: z
    .array(choice([...statusRetryWords, ...grpcRetryWordList], laterRetryWords))
    .max(16)
    .optional()
    .describe(
      "What is retried, in Envoy's words. gateway-error: 502, 503, 504; retriable-4xx: 409; both beside codes. cancelled, deadline-exceeded, internal, resource-exhausted, unavailable: gRPC statuses. connect-failure, refused-stream and reset are retried in any case.",
    ),
  perTryTimeout: notSupported("see timeouts.backendRequest"),
});
export type PolicyRetrySpec = z.infer<typeof PolicyRetry>;
