import type { AuthorizationConfig } from "../config/authorization-config.js";
import { ProxyError } from "../errors/proxy-error.js";
import { attributesOf } from "../policy/authorization-attributes.js";
import {
  compileAuthorization,
  nameOf,
  type Authorizer,
  type Decision,
  type RuleRef,
} from "../policy/authorization-decision.js";
import type { CallVerdict } from "../policy/call-recorder.js";
import type { RequestContext } from "../stack/request-context.js";
import { endedCall, type Layer } from "../stack/service.js";
import type { AuthorizationMetrics } from "../telemetry/policy-metrics.js";

/** Tells callers in the mesh which rule refused them; only a sidecar writes it. */
export const deniedByField = "x-remora-denied-by";

export interface AuthorizationOptions {
  /** The port that the application listens on. */
  readonly port: number;
  /** Cells of one rule; policy "-" = none decided. */
  readonly metrics: (policy: string, rule: string) => AuthorizationMetrics;
  /** Every call that is judged, with what was said to it; "" = there is nothing to judge by. */
  readonly onJudged?: ((request: RequestContext, verdict: CallVerdict, rule: string) => void) | undefined;
  /** Every decision, after it was counted; only while something is configured. */
  readonly onDecision?: (request: RequestContext, decision: Decision) => void;
}

/** A configuration that has been compiled. */
export interface PreparedAuthorization {
  readonly config: AuthorizationConfig | undefined;
  readonly authorizer: Authorizer | undefined;
}

/** Throws ConfigError for what does not compile. */
export function prepareAuthorization(config: AuthorizationConfig | undefined): PreparedAuthorization {
  return { config, authorizer: config === undefined ? undefined : compileAuthorization(config) };
}

/**
 * Lets through who may do what is asked. Changes between two requests: a connection or tunnel that was let through stays, as
 * everything does that a push finds under way.
 */
export class Authorization {
  readonly #options: AuthorizationOptions;
  /** "": until the first configuration nothing is known, so nobody is let through. */
  #inForce = "";
  #authorizer: Authorizer | undefined;
  #meters: ReadonlyMap<RuleRef, AuthorizationMetrics> = new Map();
  readonly #unnamed: AuthorizationMetrics;
  /** Made once: a call is no occasion to put texts together. */
  #names: ReadonlyMap<RuleRef, string> = new Map();

  constructor(options: AuthorizationOptions) {
    this.#options = options;
    this.#unnamed = options.metrics("-", "");
  }

  use({ config, authorizer }: PreparedAuthorization): void {
    const text = JSON.stringify(config ?? null);
    if (text === this.#inForce) return;
    this.#inForce = text;
    this.#authorizer = authorizer;
    const { metrics } = this.#options;
    this.#meters = new Map(authorizer?.refs.map((ref) => [ref, metrics(ref.policy, ref.rule)]));
    this.#names = new Map(authorizer?.refs.map((ref) => [ref, nameOf(ref)]));
  }

  /** Of requests whose target is canonical, and of TCP connections. */
  readonly layer: Layer = (inner) => ({
    call: (request, reply) => {
      const refusal = this.#judge(request);
      if (refusal === null) return inner.call(request, reply);
      reply.end(refusal);
      return endedCall;
    },
  });

  #judge(request: RequestContext): ProxyError | null {
    if (this.#authorizer === undefined) {
      if (this.#inForce === "") return notReady();
      this.#options.onJudged?.(request, "allow", "");
      return null;
    }
    const decision = this.#authorizer.decide(attributesOf(request, this.#options.port));
    const { verdict, by, wouldDeny, audited } = decision;
    const meters = this.#metersOf(by);
    if (verdict === "deny") meters.denied.value++;
    else meters.allowed.value++;
    if (wouldDeny !== null) this.#metersOf(wouldDeny).wouldDeny.value++;
    if (audited !== null) this.#metersOf(audited).audited.value++;
    if (wouldDeny !== null || audited !== null) request.authorization = remarkOf(decision);
    this.#options.onDecision?.(request, decision);
    const isTriedOut = verdict === "allow" && wouldDeny !== null;
    this.#options.onJudged?.(
      request,
      isTriedOut ? "audit" : verdict,
      this.#nameOf(isTriedOut ? wouldDeny : by),
    );
    return verdict === "deny" && by !== null ? refusalOf(request, by) : null;
  }

  #nameOf(ref: RuleRef | null): string {
    return (ref === null ? undefined : this.#names.get(ref)) ?? "";
  }

  #metersOf(ref: RuleRef | null): AuthorizationMetrics {
    return (ref === null ? undefined : this.#meters.get(ref)) ?? this.#unnamed;
  }
}

function notReady(): ProxyError {
  return new ProxyError("not_ready", "the control plane has sent no configuration yet");
}

/** What the access log says of a decision beside the outcome. */
function remarkOf({ wouldDeny, audited }: Decision): string {
  const remarks = [
    ...(wouldDeny === null ? [] : [`would_deny[${nameOf(wouldDeny)}]`]),
    ...(audited === null ? [] : [`audit[${nameOf(audited)}]`]),
  ];
  return remarks.join(" ");
}

/** Whoever has no identity of the mesh learns nothing about its policies. */
function refusalOf({ peerId }: RequestContext, by: RuleRef): ProxyError {
  const name = nameOf(by);
  const logAs = `rbac_access_denied_matched_policy[${name}]`;
  return peerId === undefined
    ? new ProxyError("denied", "", { logAs })
    : new ProxyError("denied", name, { logAs, headers: [deniedByField, name] });
}
