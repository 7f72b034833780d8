import {
  ambiguousPath,
  implicitDeny,
  type AuthorizationConfig,
  type AuthorizationPolicyConfig,
  type AuthorizationRuleConfig,
  type AuthorizationStage,
  type Conditions,
  type Verdict,
} from "../config/authorization-config.js";
import { hasEncodedSeparator } from "../traffic/path.js";
import type { AuthorizationAttributes } from "./authorization-attributes.js";
import { compileCondition, isOfHttp, type Condition } from "./authorization-conditions.js";

/** What was decided about one request, and who decided. */
export interface Decision {
  readonly verdict: Verdict;
  /** null: no rule; it is allowed because nothing says otherwise. */
  readonly by: RuleRef | null;
  /** Allowed, and would have been refused by this if all policies that are tried out were in force. */
  readonly wouldDeny: RuleRef | null;
  /** The first AUDIT rule that matches. */
  readonly audited: RuleRef | null;
}

/** A rule, for people. One object per rule, so it can be told apart by identity. */
export interface RuleRef {
  /** Name of the policy, or `implicit-deny`, `ambiguous-path`. */
  readonly policy: string;
  /** Its name in the policy; "" for those. */
  readonly rule: string;
  readonly action: AuthorizationRuleConfig["action"];
}

/** A configuration ready to decide. Pure: the same attributes give the same decision. */
export interface Authorizer {
  decide(attributes: AuthorizationAttributes): Decision;
  /** Every rule that a decision can name. */
  readonly refs: readonly RuleRef[];
}

/** Decides once; to decide often, compile once. */
export function decide(config: AuthorizationConfig, attributes: AuthorizationAttributes): Decision {
  return compileAuthorization(config).decide(attributes);
}

/** `policy/rule`, or the policy alone when no rule of it decided. */
export function nameOf({ policy, rule }: RuleRef): string {
  return rule === "" ? policy : `${policy}/${rule}`;
}

/** Throws ConfigError for what does not compile. */
export function compileAuthorization({ stages }: AuthorizationConfig): Authorizer {
  const compiled = stages.map(compileStage);
  const rules = compiled.flatMap((stage) => stage.rules);
  const looks = (isTriedOut: boolean): boolean =>
    rules.some((rule) => rule.looksAtPaths && rule.ref.action !== "AUDIT" && rule.isAudit === isTriedOut);
  const guards = { isForced: looks(false), isTriedOut: looks(true) };
  return {
    decide: (attributes) => decideAll(compiled, guards, attributes),
    refs: [...rules.map((rule) => rule.ref), implicitly, ambiguous],
  };
}

const implicitly: RuleRef = { policy: implicitDeny, rule: "", action: "DENY" };
const ambiguous: RuleRef = { policy: ambiguousPath, rule: "", action: "DENY" };

interface CompiledStage {
  readonly rules: readonly CompiledRule[];
  readonly otherwise: Verdict;
  readonly otherwiseInAudit: Verdict;
}

interface CompiledRule {
  readonly ref: RuleRef;
  readonly isAudit: boolean;
  readonly looksAtPaths: boolean;
  readonly matches: Condition;
  /** What most of the requests that it allows get. */
  readonly allows: Decision;
}

/** Do rules look at paths: of policies in force, of those tried out? */
interface PathGuards {
  readonly isForced: boolean;
  readonly isTriedOut: boolean;
}

const passes: Decision = { verdict: "allow", by: null, wouldDeny: null, audited: null };

function decideAll(
  stages: readonly CompiledStage[],
  guards: PathGuards,
  it: AuthorizationAttributes,
): Decision {
  let by: CompiledRule | null = null;
  let wouldDeny: RuleRef | null = null;
  let audited: RuleRef | null = null;
  // Whether a server behind takes %2F for a separator nobody knows: rules about paths would decide on another path.
  if (guards.isForced || guards.isTriedOut) {
    if (it.http !== undefined && hasEncodedSeparator(it.http.path)) {
      if (guards.isForced) return { verdict: "deny", by: ambiguous, wouldDeny, audited };
      wouldDeny = ambiguous;
    }
  }
  for (const { rules, otherwise, otherwiseInAudit } of stages) {
    let forced: CompiledRule | null = null;
    let tried: CompiledRule | null = null;
    for (const rule of rules) {
      const { ref, isAudit } = rule;
      if (ref.action === "AUDIT") {
        if (audited === null && rule.matches(it)) audited = ref;
        continue;
      }
      if ((isAudit && tried !== null) || !rule.matches(it)) continue;
      tried ??= rule;
      if (isAudit) continue;
      forced = rule;
      break;
    }
    if (verdictOf(forced, otherwise) === "deny")
      return { verdict: "deny", by: forced?.ref ?? implicitly, wouldDeny: null, audited };
    if (wouldDeny === null && verdictOf(tried, otherwiseInAudit) === "deny")
      wouldDeny = tried?.ref ?? implicitly;
    by = forced ?? by;
  }
  if (wouldDeny === null && audited === null) return by === null ? passes : by.allows;
  return { verdict: "allow", by: by === null ? null : by.ref, wouldDeny, audited };
}

function verdictOf(rule: CompiledRule | null, otherwise: Verdict): Verdict {
  if (rule === null) return otherwise;
  return rule.ref.action === "ALLOW" ? "allow" : "deny";
}

function compileStage({ policies, otherwise, otherwiseInAudit }: AuthorizationStage): CompiledStage {
  return {
    rules: policies.flatMap((policy) => policy.rules.map((rule) => compileRule(policy, rule))),
    otherwise,
    otherwiseInAudit: otherwiseInAudit ?? otherwise,
  };
}

function compileRule(policy: AuthorizationPolicyConfig, rule: AuthorizationRuleConfig): CompiledRule {
  const { name, action, from, to, when = [] } = rule;
  const isGrant = action === "ALLOW";
  const place = `${policy.name}/${name}`;
  const all = [...(from ?? []).flat(), ...(to ?? []).flat(), ...when];
  const compileAll = (conditions: Conditions): Condition => {
    const ofAny = conditions.filter(({ attribute }) => !isOfHttp(attribute));
    const ofHttp = conditions.filter(({ attribute }) => isOfHttp(attribute));
    const compile = (group: Conditions): readonly Condition[] =>
      group.map((match) => compileCondition(match, isGrant, place));
    const [common, http] = [compile(ofAny), compile(ofHttp)];
    // A refusal leaves out what a TCP connection does not have, and so refuses more.
    return (it) => holdAll(common, it) && (it.http === undefined || holdAll(http, it));
  };
  const sources = from?.map(compileAll);
  const operations = to?.map(compileAll);
  const rest = compileAll(when);
  const isForHttp = isGrant && all.some(({ attribute }) => isOfHttp(attribute));
  const matches: Condition = (it) =>
    !(isForHttp && it.http === undefined) &&
    (sources === undefined || holdsOne(sources, it)) &&
    (operations === undefined || holdsOne(operations, it)) &&
    rest(it);
  const ref = { policy: policy.name, rule: name, action };
  return {
    ref,
    allows: { ...passes, by: ref },
    isAudit: policy.isAudit === true,
    looksAtPaths: all.some(({ attribute }) => attribute === "request.path"),
    matches,
  };
}

function holdAll(conditions: readonly Condition[], it: AuthorizationAttributes): boolean {
  for (const condition of conditions) if (!condition(it)) return false;
  return true;
}

function holdsOne(conditions: readonly Condition[], it: AuthorizationAttributes): boolean {
  for (const condition of conditions) if (condition(it)) return true;
  return false;
}
