import { z } from "zod";
import { type GrpcRetryWord, grpcRetryWords } from "../grpc-retry-words.js";
import { byteSize, choice, duration } from "./field.js";

/** Words of Envoy's retry_on that are about connections and HTTP statuses. */
const statusRetryWords = [
  "connect-failure",
  "refused-stream",
  "reset",
  "reset-before-request",
  "gateway-error",
  "5xx",
  "retriable-4xx",
  "retriable-status-codes",
] as const;
const grpcRetryWordList = Object.keys(grpcRetryWords) as GrpcRetryWord[];
const refusedRetryWords = {
  "retriable-headers": "a response is judged by its status; name statuses in codes",
  "envoy-ratelimited": "no sidecar says so of a response; name 429 in codes",
  "http3-post-connect-failure": "there is no HTTP/3 in the mesh",
};

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
      base: duration().optional().describe("Bound of the first wait."),
      max: duration().optional().describe("Bound of any wait."),
      factor: z
        .number()
        .min(1)
        .max(10)
        .optional()
        .describe("What the bound of a wait is multiplied with for the next, 1-10."),
      jitter: choice(["full", "none", "equal"])
        .optional()
        .describe(
          "full: a random wait between nothing and the bound; equal: between half of the bound and the bound; none: the bound.",
        ),
      maxRetryAfter: duration()
        .optional()
        .describe(
          "Longest wait that an answer may ask for (Retry-After), at most 5m. 0s: who asks is not asked again.",
        ),
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
    .array(choice([...statusRetryWords, ...grpcRetryWordList], [], refusedRetryWords))
    .max(16)
    .optional()
    .describe(
      "What is retried, in Envoy's words. 5xx: every status from 500 on; gateway-error: 502, 503, 504; retriable-4xx: 409; all beside codes, which retriable-status-codes may announce. cancelled, deadline-exceeded, internal, resource-exhausted, unavailable: gRPC statuses. connect-failure, refused-stream, reset and reset-before-request are retried in any case.",
    ),
  perTryTimeout: duration()
    .optional()
    .describe("Caps each attempt: another name of timeouts.backendRequest. 0s = none."),
});
export type PolicyRetrySpec = z.infer<typeof PolicyRetry>;
