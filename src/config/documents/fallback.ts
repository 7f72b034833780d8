import { z } from "zod";
import { fallbackCauses } from "../fallback-config.js";
import { grpcFailureNames } from "../grpc-status-names.js";
import { byteSize, choice, limit, namespaceName, positiveDuration, serviceName } from "./field.js";
import { HeaderField } from "./header-modifier.js";

const Reply = z.strictObject({
  status: z.int().min(200).max(599).optional().describe("Status of the answer, 200-599."),
  headers: z
    .array(HeaderField)
    .max(16)
    .optional()
    .describe("Headers of the answer. Without content-type it is text/plain; charset=utf-8."),
  body: z.string().max(65_536).optional().describe("Body of the answer."),
  grpcStatus: choice(grpcFailureNames)
    .optional()
    .describe("Status that gRPC calls end with, like UNAVAILABLE; without it they keep their own outcome."),
  grpcMessage: z.string().max(1024).optional().describe("Message beside grpcStatus."),
});

/** `fallback` of a TrafficPolicy: what callers get in place of a failure. */
export const Fallback = z.strictObject({
  on: z
    .array(choice(fallbackCauses))
    .min(1)
    .max(fallbackCauses.length)
    .optional()
    .describe(
      "Failures that are answered. open: a breaker lets nothing through; timeout: a time limit has passed; 5xx: a status of 500 or more, or the connection broke; connect-failure; no-endpoint: no instance is known or usable; rate-limited: 429.",
    ),
  reply: Reply.optional().describe("A fixed answer."),
  service: z
    .strictObject({
      name: serviceName().describe("The service that answers instead."),
      namespace: namespaceName().optional().describe("Its namespace; the policy's own when absent."),
    })
    .optional()
    .describe("The answer of another service."),
  cached: z
    .strictObject({
      maxAge: positiveDuration().optional().describe("Oldest answer that is given."),
      maxEntries: limit().optional().describe("Most answers that are kept."),
      maxBytes: byteSize().optional().describe("Most memory that they take, at most 256MiB."),
    })
    .optional()
    .describe("The last good answer to the same GET or HEAD."),
});
export type FallbackSpec = z.infer<typeof Fallback>;
