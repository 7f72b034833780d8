import { z } from "zod";
import { choice, notSupported } from "./field.js";
import { Metadata } from "./metadata.js";
import { selectedService, ServiceSelector } from "./service-selector.js";

/** The annotation that tries a policy out, as `spec.mode: audit` does. */
export const modeAnnotation = "remora.mesh/mode";

/** Istio's annotation for the same. */
export const dryRunAnnotation = "istio.io/dry-run";

const texts = (about: string) =>
  z
    .array(z.string().min(1, { error: "is empty" }).max(4096))
    .min(1, { error: "is empty: it would mean nothing; leave it out" })
    .max(128)
    .optional()
    .describe(about);

const noJwt = "tokens of end users are the application's affair";
const noRemoteIp = "what x-forwarded-for says is not proven; use ipBlocks";

const Source = z.strictObject({
  principals: texts("Callers by SPIFFE id, with or without spiffe://."),
  notPrincipals: texts("All callers but these."),
  namespaces: texts("Callers by namespace."),
  notNamespaces: texts("Callers of all namespaces but these."),
  serviceAccounts: texts(
    "Callers by service: `<namespace>/<service>`, or `<service>` of the policy's namespace.",
  ),
  notServiceAccounts: texts("All services but these."),
  trustDomains: texts("Callers by trust domain."),
  notTrustDomains: texts("Callers of all trust domains but these."),
  ipBlocks: texts(
    "Callers by the address of their end of the connection: one address or a block like 10.0.0.0/8.",
  ),
  notIpBlocks: texts("All addresses but these."),
  requestPrincipals: notSupported(noJwt),
  notRequestPrincipals: notSupported(noJwt),
  remoteIpBlocks: notSupported(noRemoteIp),
  notRemoteIpBlocks: notSupported(noRemoteIp),
});

const Operation = z.strictObject({
  hosts: texts("Hosts that are asked for, in any case; without a port every port."),
  notHosts: texts("All hosts but these."),
  ports: texts("Ports of the application."),
  notPorts: texts("All ports but these."),
  methods: texts("Methods, in upper case. Of gRPC it is always POST."),
  notMethods: texts("All methods but these."),
  paths: texts("Paths without query. Of gRPC: /package.Service/Method."),
  notPaths: texts("All paths but these."),
});

const When = z.strictObject({
  key: z
    .string()
    .describe(
      "request.headers[name], source.ip, source.namespace, source.principal, source.serviceAccount, source.trustDomain or destination.port.",
    ),
  values: texts("One of these must fit."),
  notValues: texts("None of these may fit."),
});

const rule = z.strictObject({
  from: z
    .array(z.strictObject({ source: Source.describe("All that it says must hold.") }))
    .min(1)
    .max(64)
    .optional()
    .describe("Who calls: one of these. Whoever it is when absent."),
  to: z
    .array(z.strictObject({ operation: Operation.describe("All that it says must hold.") }))
    .min(1)
    .max(64)
    .optional()
    .describe("What is asked for: one of these. Whatever it is when absent."),
  when: z.array(When).min(1).max(64).optional().describe("Further conditions, which must all hold."),
});

/** `AuthorizationPolicy` of Istio: who may do what with a service. */
export const AuthorizationPolicy = z.strictObject({
  apiVersion: choice(["security.istio.io/v1", "security.istio.io/v1beta1", "remora.mesh/v1"]).describe(
    "Istio's version or Remora's; they mean the same.",
  ),
  kind: z.literal("AuthorizationPolicy").describe("AuthorizationPolicy."),
  metadata: Metadata.describe("Who the document is."),
  spec: z
    .strictObject({
      selector: ServiceSelector.optional().describe(
        "The service that the policy holds for, as Istio writes it.",
      ),
      targetRefs: z
        .array(
          z.strictObject({
            group: choice(["", "core"]).optional().describe('"" for Service.'),
            kind: choice(["Service"], ["Gateway", "GatewayClass", "ServiceEntry"]).describe("Service."),
            name: z.string().describe("The service, in the namespace of the policy."),
            namespace: notSupported("the service must be in the namespace of the policy"),
          }),
        )
        .min(1)
        .max(16)
        .optional()
        .describe("The services that the policy holds for."),
      targetRef: notSupported("use targetRefs"),
      action: choice(["ALLOW", "DENY", "AUDIT"], ["CUSTOM"])
        .default("ALLOW")
        .describe("What becomes of a request that a rule matches."),
      provider: notSupported(),
      mode: choice(["enforce", "audit"])
        .optional()
        .describe("audit: the policy decides nothing; what it would have refused is logged and counted."),
      rules: z.array(rule).max(512).optional().describe("A request matches when one of them does."),
    })
    // Istio: the policy without any rule allows nothing.
    .default({ action: "ALLOW" })
    .describe("What the policy says."),
  status: z.unknown().optional().describe("Written by Remora; ignored on input."),
});
export type AuthorizationPolicy = z.infer<typeof AuthorizationPolicy>;

/** One rule of an AuthorizationPolicy. */
export type AuthorizationRule = z.infer<typeof rule>;

/** Who calls, in a rule. */
export type AuthorizationSource = z.infer<typeof Source>;

/** What is asked for, in a rule. */
export type AuthorizationOperation = z.infer<typeof Operation>;

/** A further condition of a rule. */
export type AuthorizationWhen = z.infer<typeof When>;

/** Is the policy tried out, by one of the ways to say so? */
export function isTriedOut({ metadata, spec }: AuthorizationPolicy): boolean {
  const { annotations = {} } = metadata;
  return (
    spec.mode === "audit" ||
    annotations[modeAnnotation] === "audit" ||
    annotations[dryRunAnnotation] === "true"
  );
}

/** Names of the services that it holds for, in its namespace; undefined: all of them. */
export function targetsOf({ spec }: AuthorizationPolicy): readonly string[] | undefined {
  const { selector, targetRefs } = spec;
  if (targetRefs !== undefined) return targetRefs.map(({ name }) => name);
  const service = selectedService(selector);
  return service === undefined ? undefined : [service];
}
