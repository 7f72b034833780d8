import type {
  AttributeMatch,
  AuthorizationPolicyConfig,
  AuthorizationRuleConfig,
  AuthorizationStage,
  Conditions,
  Verdict,
} from "../../src/config/authorization-config.js";
import type { Intention, IntentionHeader, IntentionPermission, Intentions } from "../catalog/intention.js";

const any = "*";

/**
 * Consul's intentions about one service as one stage: per intention its permissions in their order and then one rule that keeps
 * less specific intentions from being asked.
 */
export function compileIntentions(
  { list, otherwise }: Intentions,
  service: string,
  options: { readonly trustDomain: string; readonly takesRequests: boolean },
): AuthorizationStage {
  const policies = list
    .filter(({ destination }) => destination === any || destination === service)
    .map((intention) => compileIntention(intention, otherwise, options));
  return { policies, otherwise };
}

function compileIntention(
  intention: Intention,
  otherwise: Verdict,
  { trustDomain, takesRequests }: { readonly trustDomain: string; readonly takesRequests: boolean },
): AuthorizationPolicyConfig {
  const { source, destination, permissions, action } = intention;
  const rule = (name: string, verdict: Verdict, to?: Conditions): AuthorizationRuleConfig => {
    const from = sourceOf(source, verdict, trustDomain);
    return {
      name,
      action: verdict === "allow" ? "ALLOW" : "DENY",
      ...(from === undefined ? {} : { from: [from] }),
      ...(to === undefined ? {} : { to: [to] }),
    };
  };
  // Of a connection nobody knows what it will ask for (Consul denies it likewise).
  const isBlind = permissions.length > 0 && !takesRequests;
  const last = isBlind ? "deny" : action === "default" ? otherwise : action;
  const rules = isBlind
    ? []
    : permissions.map((permission, index) => rule(String(index), permission.action, operationOf(permission)));
  return { name: `intention/${source}/${destination}`, rules: [...rules, rule("source", last)] };
}

/**
 * A service of any datacenter of the mesh. What is granted to all is granted to all that have an identity; what is refused to
 * all is refused to callers without one too.
 */
function sourceOf(source: string, verdict: Verdict, trustDomain: string): Conditions | undefined {
  if (source === any && verdict === "deny") return undefined;
  const ours: AttributeMatch = {
    attribute: "source.trust_domain",
    values: [{ type: "exact", value: trustDomain }],
  };
  if (source === any) return [ours];
  return [ours, { attribute: "source.service", values: [{ type: "exact", value: `default/${source}` }] }];
}

function operationOf({ path, methods, headers }: IntentionPermission): Conditions {
  return [
    ...(path === undefined ? [] : [{ attribute: "request.path", values: [path] } as const]),
    ...(methods.length === 0
      ? []
      : [
          {
            attribute: "request.method",
            values: methods.map((value) => ({ type: "exact", value }) as const),
          } as const,
        ]),
    ...headers.map(headerOf),
  ];
}

/** As Envoy, which Consul leaves this to: a header that is not there fits no condition, turned round or not, but absence. */
function headerOf({ name, type, value, isInverted, isCaseless }: IntentionHeader): AttributeMatch {
  const match = { type, value, ...(isCaseless ? ({ isCaseless: true } as const) : {}) };
  const common = { attribute: "request.header", header: name } as const;
  if (!isInverted) return { ...common, values: [match] };
  if (type === "present") return { ...common, notValues: [match] };
  return { ...common, values: [{ type: "present", value: "" }], notValues: [match] };
}
