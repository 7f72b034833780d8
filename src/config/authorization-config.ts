/**
 * Who may do what with the local application, compiled for one service. Plain data, whoever it came from: AuthorizationPolicy
 * documents, Consul's intentions, the mesh's default.
 *
 * A request passes when every stage lets it through, in their order. In a stage the first rule that matches decides; when none
 * does, `otherwise` decides. So everything that is customary can be said:
 *
 * - Istio: a stage of all AUDIT rules and one of all DENY rules, which otherwise let through; then a stage of all ALLOW rules,
 *   which otherwise refuses when there is any ALLOW policy, and else does what the mesh does by default.
 * - Consul: one stage with a policy per intention, most specific first (exact before wildcard). The rules of an intention are its
 *   permissions in their order, each with the source of the intention, and last one rule with nothing but the source: ALLOW or
 *   DENY as the intention says, or with permissions as the default says. It keeps less specific intentions from being asked.
 *   `otherwise` is the default of the ACL system.
 *
 * A policy with `isAudit` is tried out: its rules decide nothing, and what they would have refused is told.
 */
export interface AuthorizationConfig {
  readonly stages: readonly AuthorizationStage[];
}

export type Verdict = "allow" | "deny";

/** The first rule that matches decides. */
export interface AuthorizationStage {
  readonly policies: readonly AuthorizationPolicyConfig[];
  /** What no rule matches. */
  readonly otherwise: Verdict;
  /** The same if the policies that are tried out were in force. Absent: `otherwise`. */
  readonly otherwiseInAudit?: Verdict;
}

export interface AuthorizationPolicyConfig {
  /** For logs, metrics and callers in the mesh: `AuthorizationPolicy/default/api`, `intention/default/web`. */
  readonly name: string;
  /** Tried out, not in force. */
  readonly isAudit?: true;
  readonly rules: readonly AuthorizationRuleConfig[];
}

export interface AuthorizationRuleConfig {
  /** Unique in its policy: a name, or its place in the list. */
  readonly name: string;
  /** AUDIT: what matches is told, and decides nothing. */
  readonly action: "ALLOW" | "DENY" | "AUDIT";
  /** One of these must hold. Absent: whoever calls. */
  readonly from?: readonly Conditions[];
  /** One of these must hold. Absent: whatever is asked for. */
  readonly to?: readonly Conditions[];
  /** All must hold. */
  readonly when?: Conditions;
}

/** All must hold. */
export type Conditions = readonly AttributeMatch[];

/** One of `values` must fit, where there are any, and none of `notValues`. */
export interface AttributeMatch {
  readonly attribute: Attribute;
  /** For request.header: its name in lower case. */
  readonly header?: string;
  readonly values?: readonly TextMatch[];
  readonly notValues?: readonly TextMatch[];
}

/**
 * source.principal: SPIFFE id without `spiffe://`. source.namespace and source.service: read from it, the service as
 * `<namespace>/<name>`. source.ip: values are addresses or blocks (10.0.0.0/8), of type exact. destination.port: the application's port.
 * Those of `request` make a rule one for HTTP: of a TCP connection ALLOW never matches and DENY leaves them out.
 */
export type Attribute = (typeof attributes)[number];

/** Every attribute. */
export const attributes = [
  "source.principal",
  "source.trust_domain",
  "source.namespace",
  "source.service",
  "source.ip",
  "destination.port",
  "request.method",
  "request.host",
  "request.path",
  "request.header",
] as const;

/** present: the attribute is there, `value` is "". template: a path with `{*}` for one segment and `{**}` for any number. regex: RE2, all of the text. */
export interface TextMatch {
  readonly type: (typeof textMatchTypes)[number];
  readonly value: string;
  /** Hosts are compared so at any rate. */
  readonly isCaseless?: true;
}

/** Every way to compare. */
export const textMatchTypes = [
  "exact",
  "prefix",
  "suffix",
  "contains",
  "present",
  "template",
  "regex",
] as const;

/** Who refused when no rule did: what is not allowed is denied. */
export const implicitDeny = "implicit-deny";

/** Who refused a path that servers read in two ways, where rules look at paths. */
export const ambiguousPath = "ambiguous-path";
