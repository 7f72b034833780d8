import { z } from "zod";
import { choice, notSupported } from "./field.js";

/** `mtls` of a TrafficPolicy: encryption and identity of the connections. */
export const Mtls = z.strictObject({
  mode: choice(["STRICT", "PERMISSIVE", "DISABLE"]).describe(
    "STRICT: mTLS only. PERMISSIVE: plaintext too, for instances and callers without a sidecar. DISABLE: plaintext only.",
  ),
  peerIdentity: notSupported("the identity of a service is derived from its name"),
});
export type MtlsSpec = z.infer<typeof Mtls>;
