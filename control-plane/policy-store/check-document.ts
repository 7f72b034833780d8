import type { Document } from "../../src/config/documents/document.js";
import { createdAnnotation } from "../../src/config/documents/metadata.js";
import type { PeerAuthentication } from "../../src/config/documents/peer-authentication.js";
import { checkSelector } from "./check-selector.js";
import { checkAuthorizationPolicy } from "./check-authorization-policy.js";
import { checkGrpcRoute } from "./check-grpc-route.js";
import { checkHttpRoute } from "./check-http-route.js";
import { checkTrafficPolicy } from "./check-traffic-policy.js";
import type { FieldProblem } from "./schema-problems.js";

function checkPeerAuthentication({ spec }: PeerAuthentication): readonly FieldProblem[] {
  const problems: FieldProblem[] = [];
  checkSelector(spec.selector, (path, message) => problems.push({ path, message }));
  return problems;
}

/** What a schema cannot say: fields that contradict each other, expressions that do not compile. */
export function checkDocument(document: Document): readonly FieldProblem[] {
  const problems = checkKind(document);
  const created = document.metadata.annotations?.[createdAnnotation];
  if (created !== undefined && Number.isNaN(Date.parse(created))) {
    return [
      ...problems,
      {
        path: ["metadata", "annotations", createdAnnotation],
        message: `"${created}" is not a time like 2026-01-31T12:00:00Z; leave the annotation out, apply writes it`,
      },
    ];
  }
  return problems;
}

function checkKind(document: Document): readonly FieldProblem[] {
  switch (document.kind) {
    case "HTTPRoute":
      return checkHttpRoute(document);
    case "GRPCRoute":
      return checkGrpcRoute(document);
    case "TrafficPolicy":
      return checkTrafficPolicy(document);
    case "AuthorizationPolicy":
      return checkAuthorizationPolicy(document);
    case "PeerAuthentication":
      return checkPeerAuthentication(document);
  }
}
