import { z } from "zod";
import { choice, limit, positiveDuration } from "./field.js";

const size = () => z.string().regex(/^[0-9]{1,6}(B|KiB|MiB)$/, { error: "must be a size like 64KiB" });

/** `idempotency` of a TrafficPolicy: what becomes of requests with an Idempotency-Key. */
export const Idempotency = z.strictObject({
  methods: z
    .array(choice(["POST", "PATCH", "PUT", "DELETE"]))
    .min(1, { error: "must name at least one method" })
    .optional()
    .describe("Methods whose requests are executed once for each key; all others pass untouched."),
  ttl: positiveDuration()
    .optional()
    .describe("How long a reply is kept. After that a request with the key is executed again."),
  required: z.boolean().optional().describe("Whether requests of these methods without a key are refused."),
  maxBodyBytes: size()
    .optional()
    .describe("Response bytes kept for each key, at most 1MiB; a longer response is not repeated."),
  maxRequestBytes: size()
    .optional()
    .describe(
      "Request bytes, at most 16MiB, by which a repeated request is told from another one with the same key.",
    ),
  maxEntries: limit().optional().describe("Replies kept by each instance."),
  maxStoreBytes: size().optional().describe("Bytes of the replies kept by each instance, 1MiB to 1024MiB."),
  store: choice(["memory", "redis"])
    .optional()
    .describe(
      "Where replies are kept. memory: in the sidecar of the instance that executed; redis: for all instances together.",
    ),
  onUnavailable: choice(["local", "closed"])
    .optional()
    .describe(
      "With store redis, while it cannot be asked. local: each instance remembers for itself; closed: requests with a key are refused.",
    ),
});
export type IdempotencySpec = z.infer<typeof Idempotency>;
