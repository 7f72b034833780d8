import { z } from "zod";
import { choice } from "./field.js";

/** `mtls` of a TrafficPolicy: encryption and identity of the connections. */
export const Mtls = z.strictObject({
  mode: choice(["STRICT", "PERMISSIVE", "DISABLE"]).describe(
    "STRICT: mTLS only. PERMISSIVE: plaintext too, for instances and callers without a sidecar. DISABLE: plaintext only.",
  ),
  peerIdentity: z
    .array(z.string().max(2048))
    .min(1)
    .max(32)
    .optional()
    .describe(
      "SPIFFE ids, one of which an instance must prove, in place of the one that follows from the service's name.",
    ),
});
export type MtlsSpec = z.infer<typeof Mtls>;
