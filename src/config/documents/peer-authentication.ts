import { z } from "zod";
import { choice, notSupported } from "./field.js";
import { Metadata } from "./metadata.js";
import { ServiceSelector } from "./service-selector.js";

/** `PeerAuthentication` of Istio: whether services take plaintext. */
export const PeerAuthentication = z.strictObject({
  apiVersion: choice(["security.istio.io/v1", "security.istio.io/v1beta1", "remora.mesh/v1"]).describe(
    "Istio's version or Remora's; they mean the same.",
  ),
  kind: z.literal("PeerAuthentication").describe("PeerAuthentication."),
  metadata: Metadata.describe("Who the document is."),
  spec: z
    .strictObject({
      selector: ServiceSelector.optional().describe(
        "The service that it holds for; all of the namespace when absent.",
      ),
      mtls: z
        .strictObject({
          mode: choice(["UNSET", "STRICT", "PERMISSIVE", "DISABLE"])
            .default("UNSET")
            .describe("UNSET: what the wider one says. Otherwise as mtls.mode of a TrafficPolicy."),
        })
        .optional()
        .describe("Encryption of the connections."),
      portLevelMtls: notSupported("a service of the mesh has one port"),
    })
    .describe("What it says."),
  status: z.unknown().optional().describe("Written by Remora; ignored on input."),
});
export type PeerAuthentication = z.infer<typeof PeerAuthentication>;
