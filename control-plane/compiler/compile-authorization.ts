import type {
  Attribute,
  AttributeMatch,
  AuthorizationConfig,
  AuthorizationPolicyConfig,
  AuthorizationRuleConfig,
  AuthorizationStage,
  Conditions,
  Verdict,
} from "../../src/config/authorization-config.js";
import { headerOf, textMatch, whenKeys } from "../../src/config/documents/authorization-match.js";
import {
  type AuthorizationOperation,
  type AuthorizationPolicy,
  type AuthorizationRule,
  type AuthorizationSource,
  isTriedOut,
  targetsOf,
} from "../../src/config/documents/authorization-policy.js";
import { meshNamespaces } from "../../src/config/documents/service-selector.js";
import { documentId } from "../../src/config/documents/document.js";
import { compileIntentions } from "./compile-intentions.js";
import { type MeshIndex, takesRequests } from "./mesh-index.js";
import { splitServiceKey } from "./service-name.js";

type Action = AuthorizationRuleConfig["action"];

/**
 * Istio's order: AUDIT and DENY before ALLOW, and with one ALLOW policy in force what none allows is refused. Consul's
 * intentions must let it through besides. undefined when everybody may do everything.
 */
export function compileAuthorization(index: MeshIndex, key: string): AuthorizationConfig | undefined {
  const policies = index.authorization.filter((policy) => holdsFor(policy, key));
  const of = (action: Action): readonly AuthorizationPolicyConfig[] =>
    policies
      .filter(({ spec }) => spec.action === action)
      .map((policy) => compilePolicy(policy, index.trustDomain));
  const stages = [
    stageOf(of("AUDIT"), "allow"),
    intentionStage(index, key),
    stageOf(of("DENY"), "allow"),
    lastStage(of("ALLOW"), index.defaultAction),
  ].filter((stage) => stage !== undefined);
  return stages.length === 0 ? undefined : { stages };
}

function intentionStage(index: MeshIndex, key: string): AuthorizationStage | undefined {
  const { intentions, trustDomain } = index;
  if (intentions === undefined) return undefined;
  const { service } = splitServiceKey(key, "default");
  return compileIntentions(intentions, service, { trustDomain, takesRequests: takesRequests(index, key) });
}

/** Whether a policy is about a service; one of a mesh namespace without a target is about all. */
export function holdsFor(policy: AuthorizationPolicy, key: string): boolean {
  const { service, namespace } = splitServiceKey(key, "default");
  const targets = targetsOf(policy);
  const own = policy.metadata.namespace;
  if (targets === undefined) return own === namespace || meshNamespaces.includes(own);
  return own === namespace && targets.includes(service);
}

function stageOf(
  policies: readonly AuthorizationPolicyConfig[],
  otherwise: Verdict,
): AuthorizationStage | undefined {
  return policies.length === 0 ? undefined : { policies, otherwise };
}

function lastStage(
  policies: readonly AuthorizationPolicyConfig[],
  defaultAction: Verdict,
): AuthorizationStage | undefined {
  if (policies.length === 0) return defaultAction === "allow" ? undefined : { policies, otherwise: "deny" };
  const isForced = policies.some(({ isAudit }) => isAudit !== true);
  const otherwise = isForced ? "deny" : defaultAction;
  return { policies, otherwise, ...(otherwise === "deny" ? {} : { otherwiseInAudit: "deny" }) };
}

function compilePolicy(policy: AuthorizationPolicy, trustDomain: string): AuthorizationPolicyConfig {
  const { kind, metadata, spec } = policy;
  const { namespace, name } = metadata;
  const rules = (spec.rules ?? []).map((rule, index) =>
    compileRule(rule, { action: spec.action, name: String(index), namespace, trustDomain }),
  );
  return {
    name: documentId(kind, namespace, name),
    ...(isTriedOut(policy) ? { isAudit: true } : {}),
    rules,
  };
}

interface Scope {
  readonly action: Action;
  /** Of the rule. */
  readonly name: string;
  /** Of the policy. */
  readonly namespace: string;
  readonly trustDomain: string;
}

function compileRule({ from, to, when }: AuthorizationRule, scope: Scope): AuthorizationRuleConfig {
  const further = (when ?? []).map(({ key, values, notValues }) => {
    const header = headerOf(key)?.toLowerCase();
    const attribute = header === undefined ? (whenKeys.get(key) as Attribute) : "request.header";
    const match = matchOf(attribute, values, notValues, scope);
    return header === undefined ? match : match.map((each) => ({ ...each, header }));
  });
  const sources = from?.map(({ source }) => [...sourceConditions(source, scope), ...further.flat()]);
  // What is asked of the caller stands with each source, since a refusal may need it in two forms.
  const callers = (sources ?? [further.flat()]).flatMap((conditions) => ofTrustDomain(conditions, scope));
  const isAnyone = callers.some((conditions) => conditions.length === 0);
  return {
    name: scope.name,
    action: scope.action,
    ...(isAnyone ? {} : { from: callers }),
    ...(to === undefined ? {} : { to: to.map(({ operation }) => operationConditions(operation, scope)) }),
  };
}

function sourceConditions(source: AuthorizationSource, scope: Scope): Conditions {
  return [
    ...matchOf("source.principal", source.principals, source.notPrincipals, scope),
    ...matchOf("source.trust_domain", source.trustDomains, source.notTrustDomains, scope),
    ...matchOf("source.namespace", source.namespaces, source.notNamespaces, scope),
    ...matchOf("source.service", source.serviceAccounts, source.notServiceAccounts, scope),
    ...matchOf("source.ip", source.ipBlocks, source.notIpBlocks, scope),
  ];
}

function operationConditions(operation: AuthorizationOperation, scope: Scope): Conditions {
  return [
    ...matchOf("destination.port", operation.ports, operation.notPorts, scope),
    ...matchOf("request.method", operation.methods, operation.notMethods, scope),
    ...matchOf("request.host", operation.hosts, operation.notHosts, scope),
    ...matchOf("request.path", operation.paths, operation.notPaths, scope),
  ];
}

/** Nothing when the field says nothing. */
function matchOf(
  attribute: Attribute,
  values: readonly string[] | undefined,
  notValues: readonly string[] | undefined,
  { namespace }: Scope,
): readonly AttributeMatch[] {
  if (values === undefined && notValues === undefined) return [];
  const full = (text: string): string =>
    attribute === "source.service" && !text.includes("/") ? `${namespace}/${text}` : text;
  const texts = (list: readonly string[]) => list.map((text) => textMatch(attribute, full(text)));
  return [
    {
      attribute,
      ...(values === undefined ? {} : { values: texts(values) }),
      ...(notValues === undefined ? {} : { notValues: texts(notValues) }),
    },
  ];
}

const local: ReadonlySet<Attribute> = new Set(["source.namespace", "source.service"]);

/**
 * Names of namespaces and services mean those of our own trust domain, unless the conditions say which: another mesh may
 * have a namespace of the same name. A grant is for our own alone. A refusal holds for that name in any domain, and one of all
 * but some names holds for every other domain.
 */
function ofTrustDomain(conditions: Conditions, { action, trustDomain }: Scope): readonly Conditions[] {
  const isLocal = conditions.some(({ attribute }) => local.has(attribute));
  if (!isLocal || conditions.some(({ attribute }) => attribute === "source.trust_domain"))
    return [conditions];
  const own = [{ type: "exact", value: trustDomain }] as const;
  if (action === "ALLOW") return [[{ attribute: "source.trust_domain", values: own }, ...conditions]];
  const withoutExceptions = conditions.filter(
    ({ attribute, values }) => !(local.has(attribute) && values === undefined),
  );
  if (withoutExceptions.length === conditions.length) return [conditions];
  return [conditions, [{ attribute: "source.trust_domain", notValues: own }, ...withoutExceptions]];
}
