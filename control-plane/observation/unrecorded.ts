import type {
  AttributeMatch,
  AuthorizationConfig,
  AuthorizationRuleConfig,
  Conditions,
} from "../../src/config/authorization-config.js";

/** Is what the condition asks for not known of a call? */
export type IsUnknown = (match: AttributeMatch) => boolean;

/**
 * The configuration as it is for a call of which some attributes are not known, at its mildest and at its strictest: what an
 * unknown attribute is asked for holds where that grants and not where it refuses, or the other way round. Every call that
 * it may have been is judged as one of the two, or between them. (A rule that grants more can only turn a stage's verdict to
 * allow, one that refuses less never turns it to deny: stages go by the first rule that matches.)
 */
export function bothWays(
  config: AuthorizationConfig,
  isUnknown: IsUnknown,
): { readonly mildest: AuthorizationConfig; readonly strictest: AuthorizationConfig } {
  return {
    mildest: settled(config, isUnknown, "ALLOW"),
    strictest: settled(config, isUnknown, "DENY"),
  };
}

/** @param held the action of the rules whose unknown conditions hold. */
function settled(
  { stages }: AuthorizationConfig,
  isUnknown: IsUnknown,
  held: AuthorizationRuleConfig["action"],
): AuthorizationConfig {
  const settleRule = (rule: AuthorizationRuleConfig): readonly AuthorizationRuleConfig[] => {
    const holds = rule.action === held;
    const settle = (conditions: Conditions): readonly Conditions[] => {
      const known = conditions.filter((match) => !isUnknown(match));
      return known.length === conditions.length || holds ? [known] : [];
    };
    const { from, to, when = [], ...rest } = rule;
    const [settledWhen] = settle(when);
    // Nothing of it can hold.
    if (settledWhen === undefined) return [];
    return [
      {
        ...rest,
        ...(from !== undefined && { from: from.flatMap(settle) }),
        ...(to !== undefined && { to: to.flatMap(settle) }),
        ...(settledWhen.length > 0 && { when: settledWhen }),
      },
    ];
  };
  return {
    stages: stages.map((stage) => ({
      ...stage,
      policies: stage.policies.map((policy) => ({ ...policy, rules: policy.rules.flatMap(settleRule) })),
    })),
  };
}
