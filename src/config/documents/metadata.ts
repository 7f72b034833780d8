import { z } from "zod";
import { documentName, namespaceName } from "./field.js";

/** The annotation that holds when a document was first applied: precedence between routes goes by age. */
export const createdAnnotation = "remora.mesh/created";

/** What Kubernetes writes into metadata and Remora does not need: accepted, so that an exported document applies unchanged. */
const ignored = () => z.unknown().optional().describe("Written by Kubernetes; ignored.");

/** Who a document is: unique per kind, namespace and name. */
export const Metadata = z.strictObject({
  name: documentName().describe("Name of the document, unique in its namespace and kind."),
  namespace: namespaceName()
    .default("default")
    .describe("Namespace of the document and of the services it names."),
  labels: z.record(z.string(), z.string()).optional().describe("Free labels; Remora does not read them."),
  annotations: z
    .record(z.string(), z.string())
    .optional()
    .describe(
      `Free notes. ${createdAnnotation} is the time of the first apply (RFC 3339), written by Remora.`,
    ),
  creationTimestamp: ignored(),
  generation: ignored(),
  resourceVersion: ignored(),
  uid: ignored(),
  managedFields: ignored(),
});
export type Metadata = z.infer<typeof Metadata>;
