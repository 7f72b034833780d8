import { didYouMean } from "../did-you-mean.js";
import { ConfigError } from "../../errors/config-error.js";
import { AuthorizationPolicy } from "./authorization-policy.js";
import { GrpcRoute } from "./grpc-route.js";
import { HttpRoute } from "./http-route.js";
import { PeerAuthentication } from "./peer-authentication.js";
import { TrafficPolicy } from "./traffic-policy.js";

/** What users write: routes and policies, one YAML document each. */
export type Document = Route | TrafficPolicy | AuthorizationPolicy | PeerAuthentication;

/** A document that directs requests. */
export type Route = HttpRoute | GrpcRoute;

/** Kind of a document. */
export type Kind = Document["kind"];

/** The schema of each kind. */
export const documentSchemas = {
  HTTPRoute: HttpRoute,
  GRPCRoute: GrpcRoute,
  TrafficPolicy,
  AuthorizationPolicy,
  PeerAuthentication,
} as const;

/** Every kind of this version. */
export const kinds = Object.keys(documentSchemas) as Kind[];

/** Kinds that users may bring along from other meshes and that this version does not carry out. */
const laterKinds: readonly string[] = [
  "TCPRoute",
  "TLSRoute",
  "UDPRoute",
  "Gateway",
  "GatewayClass",
  "ReferenceGrant",
  "BackendTLSPolicy",
  "XBackendTrafficPolicy",
  "RequestAuthentication",
  "VirtualService",
  "DestinationRule",
  "ServiceEntry",
  "Sidecar",
  "Service",
  "List",
];

/** What is wrong with `kind`, or undefined when this version has it. */
export function kindProblem(kind: string): string | undefined {
  if ((kinds as readonly string[]).includes(kind)) return undefined;
  const known = `(it has ${kinds.join(", ")})`;
  if (laterKinds.includes(kind)) return `kind ${kind} is not supported by this version of Remora ${known}`;
  return `unknown kind "${kind}" ${known}${didYouMean(kind, kinds)}`;
}

/** The kind that a command line names, in any case, singular or plural. @throws ConfigError naming the known ones. */
export function parseKind(text: string): Kind {
  const lower = text.toLowerCase();
  for (const kind of kinds) {
    const name = kind.toLowerCase();
    if (lower === name || lower === `${name}s` || lower === name.replace(/y$/, "ies")) return kind;
  }
  throw new ConfigError(kindProblem(text) ?? `unknown kind "${text}"`);
}

/** `HTTPRoute/default/reviews`: how a document is called in conditions, error texts and logs. */
export function documentId(kind: string, namespace: string, name: string): string {
  return `${kind}/${namespace}/${name}`;
}
