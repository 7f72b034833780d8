import { parseDocument } from "yaml";
import { type HostnameClaim, claimHostnames, ownDomains } from "./hostnames.js";
import {
  type AuthorizationPolicy,
  type AuthorizationRule,
  targetsOf,
} from "../../src/config/documents/authorization-policy.js";
import { documentId, type Route } from "../../src/config/documents/document.js";
import type { TrafficPolicy } from "../../src/config/documents/traffic-policy.js";
import { probesOf } from "../policy-store/check-health-checks.js";
import { failoverProblem } from "./failover-problem.js";
import { services, speaking } from "./service-words.js";
import { targetText } from "../policy-store/policy-target.js";
import { idOf, type StoredDocument } from "../policy-store/stored-document.js";
import { condition, type Condition } from "./condition.js";
import { mirrorsOf } from "./compile-mirrors.js";
import { crossedLimits } from "./crossed-limits.js";
import { indexMesh, type MeshIndex, parentsOf, protocolOf, refKey, takesRequests } from "./mesh-index.js";
import type { MeshModel } from "./mesh-model.js";
import { missingRedis, type StoreUser } from "./missing-redis.js";
import { rulesOf } from "./route-rules.js";
import { serviceKey } from "./service-name.js";
import { hasSubset } from "./subset.js";
import { policySurprises, routeSurprises } from "./surprises.js";

/**
 * The conditions of every document of the model, by id (`HTTPRoute/default/reviews`).
 *
 * @param sidecars that are connected.
 */
export function conditionsOf(
  model: MeshModel,
  sidecars: readonly StoreUser[] = [],
): ReadonlyMap<string, readonly Condition[]> {
  const index = indexMesh(model);
  const crossed = crossedLimits(index);
  const claims = new Map<string, ReadonlyMap<string, HostnameClaim>>();
  const conditionsOfOne = (document: StoredDocument["document"]): readonly Condition[] => {
    if (document.kind === "TrafficPolicy")
      return [...policyConditions(index, document), ...missingRedis(index, document, sidecars)];
    if (document.kind === "AuthorizationPolicy") return authorizationConditions(index, document);
    if (document.kind === "PeerAuthentication")
      return [condition("Accepted", "True", "Accepted", "the document is in force")];
    const { namespace } = document.metadata;
    const known = claims.get(namespace) ?? claimHostnames(index, namespace);
    claims.set(namespace, known);
    return routeConditions(index, document, known);
  };
  return new Map(
    model.documents.map(({ document }) => {
      const id = idOf(document);
      return [id, [...conditionsOfOne(document), ...(crossed.get(id) ?? [])]];
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
  route: Route,
  claims: ReadonlyMap<string, HostnameClaim>,
): readonly Condition[] {
  const parents = parentsOf(route);
  const opaque = parents.filter((key) => !takesRequests(index, key));
  const directsNobody = opaque.length === parents.length;
  const conditions = [
    directsNobody
      ? condition("Accepted", "False", "UnsupportedProtocol", opaqueMessage(opaque))
      : acceptance(parents.filter((key) => !index.services.has(key))),
    resolution(index, route),
  ];
  if (opaque.length > 0 && !directsNobody)
    conditions.push(condition("PartiallyInvalid", "True", "UnsupportedProtocol", opaqueMessage(opaque)));
  const lost = lostHostnames(index, route, claims);
  if (lost.length > 0)
    conditions.push(condition("PartiallyInvalid", "True", "HostnameConflict", lost.join("; ")));
  return [...conditions, ...routeSurprises(route)];
}

/** A policy for a service that is not there yet is in force when it comes. */
function authorizationConditions(index: MeshIndex, policy: AuthorizationPolicy): readonly Condition[] {
  const keys = (targetsOf(policy) ?? []).map((name) => serviceKey(name, policy.metadata.namespace));
  const missing = keys.filter((key) => !index.services.has(key));
  const accepted = condition("Accepted", "True", "Accepted", "the policy is in force");
  const isGrantByRequest =
    policy.spec.action === "ALLOW" && (policy.spec.rules ?? []).some((rule) => looksAtRequests(rule));
  const opaque = isGrantByRequest
    ? keys.filter((key) => index.services.has(key) && !takesRequests(index, key))
    : [];
  return [
    accepted,
    ...(opaque.length === 0
      ? []
      : [
          condition(
            "PartiallyInvalid",
            "True",
            "UnsupportedProtocol",
            `${speaking(opaque)} tcp: rules with hosts, methods, paths or headers allow nothing there`,
          ),
        ]),
    missing.length === 0
      ? condition("ResolvedRefs", "True", "ResolvedRefs", "every target is known")
      : condition(
          "ResolvedRefs",
          "False",
          "TargetNotFound",
          `${services(missing)} not in the registry: the policy waits for it`,
        ),
  ];
}

/** Does it name what only HTTP has? */
function looksAtRequests({ to = [], when = [] }: AuthorizationRule): boolean {
  const isOfHttp = (field: string): boolean => !/^(?:ports|notPorts)$/.test(field);
  return (
    to.some(({ operation }) => Object.keys(operation).some(isOfHttp)) ||
    when.some(({ key }) => key.startsWith("request."))
  );
}

function acceptance(missingParents: readonly string[]): Condition {
  if (missingParents.length === 0) return condition("Accepted", "True", "Accepted", "the route is in force");
  const message = `${services(missingParents)} not in the registry: only this route makes the name known`;
  return condition("Accepted", "True", "ParentNotFound", message);
}

function opaqueMessage(keys: readonly string[]): string {
  return `${speaking(keys)} tcp: a route directs requests, not connections`;
}

/** Whether every backend is there and speaks what is sent to it. */
function resolution(index: MeshIndex, route: Route): Condition {
  const refs = route.spec.rules.flatMap((rule) => (rule.backendRefs ?? []).map((ref) => refKey(ref, route)));
  const mirrors = route.spec.rules.flatMap((rule) =>
    mirrorsOf(rule.filters).map(({ backendRef }) => refKey(backendRef, route)),
  );
  const unmirrored = [...new Set(mirrors)].filter(
    (key) => !index.services.has(key) || !takesRequests(index, key),
  );
  const backends = [...new Set(refs)].sort();
  const missing = backends.filter((key) => !index.services.has(key));
  const known = backends.filter((key) => index.services.has(key));
  const opaque = known.filter((key) => !takesRequests(index, key));
  const older = route.kind === "GRPCRoute" ? known.filter((key) => protocolOf(index, key) === "http") : [];
  const answer = route.kind === "GRPCRoute" ? "UNAVAILABLE" : "500";
  const unnamed = unnamedSubsets(index, route);
  const problems = [
    ...(missing.length === 0
      ? []
      : [`${services(missing)} not in the registry: requests that fall to it are answered with ${answer}`]),
    ...unnamed.map(
      (subset) =>
        `${subset} is named by no TrafficPolicy: requests that fall to it are answered with ${answer}`,
    ),
    ...(opaque.length === 0
      ? []
      : [`${speaking(opaque)} tcp: requests that fall to it are answered with ${answer}`]),
    ...(older.length === 0
      ? []
      : [`${speaking(older)} HTTP/1.1, which carries no gRPC: start it with --protocol grpc`]),
  ];
  if (unmirrored.length > 0)
    problems.push(`${services(unmirrored)} not in the registry or no HTTP: no request is mirrored there`);
  if (problems.length === 0)
    return condition("ResolvedRefs", "True", "ResolvedRefs", "every backend is in the registry");
  const isMissing = missing.length + unnamed.length + unmirrored.length > 0;
  const reason = isMissing ? "BackendNotFound" : "UnsupportedProtocol";
  return condition("ResolvedRefs", "False", reason, problems.join("; "));
}

/** `subset v2 of service reviews.default`. */
function unnamedSubsets(index: MeshIndex, route: Route): readonly string[] {
  const refs = rulesOf(route).flatMap((rule) => rule.backendRefs ?? []);
  const texts = refs.flatMap((ref) => {
    const key = refKey(ref, route);
    const isNamed = !index.services.has(key) || hasSubset(index, key, ref.subset);
    return isNamed ? [] : [`subset ${ref.subset} of service ${key}`];
  });
  return [...new Set(texts)].sort();
}

function lostHostnames(
  index: MeshIndex,
  route: Route,
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
  const { namespace } = policy.metadata;
  const targets = policy.spec.targetRefs;
  const conflicts = targets.flatMap((target) => {
    const text = targetText(target, namespace);
    const owner = index.targeted.get(text);
    return owner === undefined || owner.id === id ? [] : [`${text} already has the older ${owner.id}`];
  });
  const isWithoutEffect = conflicts.length === targets.length;
  const conditions = [
    isWithoutEffect
      ? condition("Accepted", "False", "Conflicted", conflicts.join("; "))
      : condition("Accepted", "True", "Accepted", "the policy is in force"),
    targetResolution(index, policy),
  ];
  const unable = unansweredChecks(index, policy);
  if (unable.length > 0)
    conditions.push(condition("PartiallyInvalid", "True", "UnsupportedProtocol", unable.join("; ")));
  if (conflicts.length > 0 && !isWithoutEffect) {
    conditions.push(condition("PartiallyInvalid", "True", "Conflicted", conflicts.join("; ")));
  }
  return [...conditions, ...policySurprises(index, policy)];
}

/** Whether every service, route and rule that a policy is attached to or names is there. */
function targetResolution(index: MeshIndex, policy: TrafficPolicy): Condition {
  const { spec, metadata } = policy;
  const missingServices: string[] = [];
  const problems: string[] = [];
  for (const { kind, name, sectionName } of spec.targetRefs) {
    if (kind === "Service") {
      const key = serviceKey(name, metadata.namespace);
      if (!index.serviceKeys.includes(key)) missingServices.push(key);
      continue;
    }
    const id = documentId(kind, metadata.namespace, name);
    const route = index.routes.get(id);
    if (route === undefined) problems.push(`${id} does not exist: the policy waits for it`);
    else if (sectionName !== undefined && !route.spec.rules.some((rule) => rule.name === sectionName))
      problems.push(`${id} has no rule named ${sectionName}: the policy waits for it`);
  }
  const { service } = spec.fallback ?? {};
  const stand = service && serviceKey(service.name, service.namespace ?? metadata.namespace);
  if (stand !== undefined && !index.services.has(stand))
    problems.push(`${services([stand])} not in the registry: there is no fallback until it is`);
  if (missingServices.length > 0)
    problems.unshift(`${services(missingServices)} not in the registry: the policy waits for it`);
  const behind = failoverProblem(index, policy);
  if (problems.length === 0)
    return behind ?? condition("ResolvedRefs", "True", "ResolvedRefs", "every target is known");
  if (behind !== undefined) problems.push(behind.message);
  return condition("ResolvedRefs", "False", "TargetNotFound", problems.join("; "));
}

/** Health checks that are not made because a service does not speak what they ask in. */
function unansweredChecks(index: MeshIndex, { spec, metadata }: TrafficPolicy): readonly string[] {
  return spec.targetRefs.flatMap(({ kind, name }) => {
    const key = serviceKey(name, metadata.namespace);
    if (kind !== "Service" || !index.services.has(key)) return [];
    const able = probesOf[protocolOf(index, key)];
    const kinds = (spec.healthChecks ?? []).flatMap((check) =>
      (["http", "grpc", "tcp"] as const).filter((each) => check[each] !== undefined && !able.includes(each)),
    );
    return kinds.map(
      (each) => `service ${key} speaks ${protocolOf(index, key)}: its ${each} check is not made`,
    );
  });
}
