import { parseDocument } from "yaml";
import { type HostnameClaim, claimHostnames, ownDomains } from "./hostnames.js";
import type { HttpRoute } from "../../src/config/documents/http-route.js";
import type { TrafficPolicy } from "../../src/config/documents/traffic-policy.js";
import { idOf, type StoredDocument } from "../policy-store/stored-document.js";
import { indexMesh, type MeshIndex, parentsOf, refKey, targetsOf } from "./mesh-index.js";
import type { MeshModel } from "./mesh-model.js";

/** What became of a document, in the words of the Gateway API. */
export interface Condition {
  /** Accepted: it is in force. ResolvedRefs: every service it names exists. PartiallyInvalid: a part is without effect. */
  readonly type: "Accepted" | "ResolvedRefs" | "PartiallyInvalid";
  readonly status: "True" | "False";
  /** One word in camel case, for programs. */
  readonly reason: string;
  /** One line, for people. */
  readonly message: string;
}

/** The conditions of every document of the model, by id (`HTTPRoute/default/reviews`). */
export function conditionsOf(model: MeshModel): ReadonlyMap<string, readonly Condition[]> {
  const index = indexMesh(model);
  const claims = new Map<string, ReadonlyMap<string, HostnameClaim>>();
  return new Map(
    model.documents.map(({ document }) => {
      if (document.kind === "TrafficPolicy")
        return [idOf(document), policyConditions(index, document)] as const;
      const { namespace } = document.metadata;
      const known = claims.get(namespace) ?? claimHostnames(index, namespace);
      claims.set(namespace, known);
      return [idOf(document), routeConditions(index, document, known)] as const;
    }),
  );
}

/** The YAML of a document with its conditions as `status`, as `remora get -o yaml` shows it. */
export function withStatus(stored: StoredDocument, conditions: readonly Condition[]): string {
  const yaml = parseDocument(stored.text);
  yaml.set("status", yaml.createNode({ conditions }));
  return yaml.toString({ lineWidth: 0 });
}

function routeConditions(
  index: MeshIndex,
  route: HttpRoute,
  claims: ReadonlyMap<string, HostnameClaim>,
): readonly Condition[] {
  const missingParents = parentsOf(route).filter((key) => !index.services.has(key));
  const backends = route.spec.rules
    .flatMap((rule) => rule.backendRefs ?? [])
    .map((ref) => refKey(ref, route));
  const missing = [...new Set(backends.filter((key) => !index.services.has(key)))].sort();
  const conditions: Condition[] = [
    missingParents.length === 0
      ? condition("Accepted", "True", "Accepted", "the route is in force")
      : condition(
          "Accepted",
          "True",
          "ParentNotFound",
          `${services(missingParents)} not in the registry: only this route makes the name known`,
        ),
    missing.length === 0
      ? condition("ResolvedRefs", "True", "ResolvedRefs", "every backend is in the registry")
      : condition(
          "ResolvedRefs",
          "False",
          "BackendNotFound",
          `${services(missing)} not in the registry: requests that fall to it are answered with 500`,
        ),
  ];
  const lost = lostHostnames(index, route, claims);
  if (lost.length > 0)
    conditions.push(condition("PartiallyInvalid", "True", "HostnameConflict", lost.join("; ")));
  return conditions;
}

function lostHostnames(
  index: MeshIndex,
  route: HttpRoute,
  claims: ReadonlyMap<string, HostnameClaim>,
): readonly string[] {
  const parents = parentsOf(route);
  return (route.spec.hostnames ?? []).flatMap((hostname) => {
    const builtIn = index.serviceKeys.find(
      (key) => !parents.includes(key) && ownDomains(key, route.metadata.namespace).includes(hostname),
    );
    if (builtIn !== undefined) return [`hostname ${hostname} is the name of service ${builtIn}`];
    const claim = claims.get(hostname);
    if (claim === undefined || claim.source === idOf(route)) return [];
    if (parents.includes(claim.service)) return [];
    return [`hostname ${hostname} belongs to the older ${claim.source}`];
  });
}

function policyConditions(index: MeshIndex, policy: TrafficPolicy): readonly Condition[] {
  const id = idOf(policy);
  const targets = targetsOf(policy);
  const conflicts = targets.flatMap((key) => {
    const owner = index.policies.get(key);
    return owner === undefined || owner.id === id ? [] : [`service ${key} already has the older ${owner.id}`];
  });
  const missing = targets.filter((key) => !index.serviceKeys.includes(key));
  const isWithoutEffect = conflicts.length === targets.length;
  const conditions = [
    isWithoutEffect
      ? condition("Accepted", "False", "Conflicted", conflicts.join("; "))
      : condition("Accepted", "True", "Accepted", "the policy is in force"),
    missing.length === 0
      ? condition("ResolvedRefs", "True", "ResolvedRefs", "every target is known")
      : condition(
          "ResolvedRefs",
          "False",
          "TargetNotFound",
          `${services(missing)} not in the registry: the policy waits for it`,
        ),
  ];
  if (conflicts.length > 0 && !isWithoutEffect) {
    conditions.push(condition("PartiallyInvalid", "True", "Conflicted", conflicts.join("; ")));
  }
  return conditions;
}

function services(keys: readonly string[]): string {
  return keys.length === 1 ? `service ${keys[0]} is` : `services ${keys.join(", ")} are`;
}

function condition(
  type: Condition["type"],
  status: Condition["status"],
  reason: string,
  message: string,
): Condition {
  return { type, status, reason, message };
}
