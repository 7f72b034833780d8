import { z } from "zod";
import { choice, namespaceName, notSupported, port, serviceName } from "./field.js";
import { SubsetRef } from "./subset.js";

const coreGroup = () => z.literal("", { error: 'must be "" (the core group of Service)' }).optional();
const serviceKind = () =>
  choice(["Service"], ["Gateway", "ServiceEntry", "Hostname", "ServiceImport"]).optional();
const unusedPort = () =>
  port()
    .optional()
    .describe("Accepted as in Kubernetes; a service of the mesh has one port, so it is not compared.");

const ParentRef = z.strictObject({
  group: coreGroup().describe('Group of the parent: "" for Service.'),
  kind: serviceKind().describe("Kind of the parent: Service."),
  name: serviceName().describe("The service whose callers this route directs."),
  namespace: namespaceName()
    .optional()
    .describe(
      "Namespace of the service; the route's own when absent. When it is another one, the route is a consumer route: it directs only callers of the route's namespace.",
    ),
  port: unusedPort(),
  sectionName: notSupported("a service of the mesh has one port"),
});
export type ParentRef = z.infer<typeof ParentRef>;

/** A backend of a rule; `filter` is the schema of the filters that it may have. */
export const backendRef = <T extends z.ZodType>(filter: T) =>
  z.strictObject({
    group: coreGroup().describe('Group of the backend: "" for Service.'),
    kind: serviceKind().describe("Kind of the backend: Service."),
    name: serviceName().describe("The service that requests go to."),
    namespace: namespaceName().optional().describe("Namespace of that service; the route's own when absent."),
    port: unusedPort(),
    subset: SubsetRef,
    weight: z
      .int()
      .min(0)
      .max(1_000_000)
      .default(1)
      .describe("Share of the requests: weight / sum of weights."),
    filters: z.array(filter).max(16).optional().describe("Header modifiers for this backend alone."),
  });

const Hostname = z
  .string()
  .max(253)
  .regex(/^(\*\.)?[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$/, {
    error: "must be a host name in lower case, without port; *. may stand at its beginning",
  })
  .refine((host) => !/^[0-9.]+$/.test(host), { error: "must be a host name, not an IP address" });

/** The fields of a route's spec that say whose requests it directs. */
export const attachment = {
  parentRefs: z
    .array(ParentRef)
    .min(1, { error: "must name at least one service, else the route directs nobody" })
    .max(32)
    .describe("The services whose callers this route directs."),
  hostnames: z
    .array(Hostname)
    .max(16)
    .optional()
    .describe(
      "Further host names that the outbound port serves with these rules, besides the service's own names.",
    ),
};
