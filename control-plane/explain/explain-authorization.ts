import type {
  AuthorizationConfig,
  AuthorizationPolicyConfig,
} from "../../src/config/authorization-config.js";
import type { AuthorizationAttributes } from "../../src/policy/authorization-attributes.js";
import { compileAuthorization, nameOf } from "../../src/policy/authorization-decision.js";
import { bothWays } from "../observation/unrecorded.js";

/** What a policy that holds for the service has to say. */
export interface ConsideredPolicy {
  readonly policy: string;
  readonly action: string;
  readonly isTriedOut: boolean;
  /** depends: on the caller's address. */
  readonly matches: "yes" | "no" | "depends";
  /** The first rule that matches, or may; "" = none. */
  readonly rule: string;
}

export interface AuthorizationExplanation {
  /** depends: on the caller's address, which nobody knows before the call. */
  readonly verdict: "allow" | "deny" | "depends";
  /** The rule that decides; `implicit-deny`; "" = no policy speaks about it. */
  readonly by: string;
  /** Allowed, and refused by this if all policies that are tried out were in force; "" = it would not be. */
  readonly wouldDeny: string;
  readonly considered: readonly ConsideredPolicy[];
}

/** Pure. @param it its sourceIp is of no interest. */
export function explainAuthorization(
  config: AuthorizationConfig,
  it: AuthorizationAttributes,
): AuthorizationExplanation {
  const [mild, strict] = decideBoth(config, it);
  const by = strict.by === null ? "" : nameOf(strict.by);
  return {
    verdict: mild.verdict === strict.verdict ? strict.verdict : "depends",
    by,
    wouldDeny: strict.wouldDeny === null ? "" : nameOf(strict.wouldDeny),
    considered: config.stages.flatMap(({ policies }) => policies.map((policy) => consider(policy, it))),
  };
}

function decideBoth(config: AuthorizationConfig, it: AuthorizationAttributes) {
  const { mildest, strictest } = bothWays(config, ({ attribute }) => attribute === "source.ip");
  return [compileAuthorization(mildest).decide(it), compileAuthorization(strictest).decide(it)] as const;
}

/** The policy alone, and in force: of what it does not match nobody refuses anything, or nobody allows. */
function consider(policy: AuthorizationPolicyConfig, it: AuthorizationAttributes): ConsideredPolicy {
  const { name, isAudit = false, rules } = policy;
  const action = rules[0]?.action ?? "ALLOW";
  // A rule that audits decides nothing; one that refuses matches the same.
  const alone = {
    name,
    rules: rules.map((rule) => (rule.action === "AUDIT" ? { ...rule, action: "DENY" as const } : rule)),
  };
  const otherwise = action === "ALLOW" ? "deny" : "allow";
  const [mild, strict] = decideBoth({ stages: [{ policies: [alone], otherwise }] }, it);
  const found = [mild, strict].map(({ by }) => (by?.policy === name ? by.rule : undefined));
  const rule = found.find((each) => each !== undefined);
  const matches = rule === undefined ? "no" : found.includes(undefined) ? "depends" : "yes";
  return { policy: name, action, isTriedOut: isAudit, matches, rule: rule ?? "" };
}
