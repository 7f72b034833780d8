import type { InboundRule } from "../config/inbound-config.js";
import { compileMatch, type Condition } from "../route/matcher.js";
import type { RequestHead } from "../traffic/message.js";
import { pathEndOf } from "../traffic/path.js";
import { stack, type Layer, type Service } from "../stack/service.js";

/** One of the things that policies can ask for at the inbound side, with the state that outlives pushes. */
export interface InboundSection {
  /** What it does with the requests of a rule: no layer when the rule does not ask for it. */
  layers(rule: InboundRule): readonly Layer[];
  /** Every rule of a push has asked: what none asked for is forgotten. */
  settle(): void;
}

/** Rules whose matches have been compiled. */
export type PreparedRules = readonly PreparedRule[];

interface PreparedRule {
  readonly rule: InboundRule;
  readonly conditions: readonly Condition[];
}

interface ComposedRule {
  readonly conditions: readonly Condition[];
  readonly layers: readonly Layer[];
}

/** Throws ConfigError for a regular expression that is not acceptable. */
export function prepareRules(rules: readonly InboundRule[] = []): PreparedRules {
  return rules.map((rule) => ({ rule, conditions: compileMatch(rule.match, `rule ${rule.name}`) }));
}

/** What is done with requests from the mesh, by the first rule that matches. Changes between two requests. */
export class InboundRules {
  readonly #sections: readonly InboundSection[];
  #inForce = "[]";
  #composed: readonly ComposedRule[] = [];

  /** @param sections outermost first. */
  constructor(sections: readonly InboundSection[]) {
    this.#sections = sections;
  }

  use(prepared: PreparedRules): void {
    const text = JSON.stringify(prepared.map(({ rule }) => rule));
    if (text === this.#inForce) return;
    this.#inForce = text;
    this.#composed = prepared.map(({ rule, conditions }) => ({
      conditions,
      layers: this.#sections.flatMap((section) => section.layers(rule)),
    }));
    for (const section of this.#sections) section.settle();
  }

  /** In front of whatever is done with every request. */
  readonly layer: Layer = (inner) => {
    let composed: readonly ComposedRule[] = [];
    let services: readonly Service[] = [];
    return {
      call: (request, reply) => {
        if (composed !== this.#composed) {
          composed = this.#composed;
          services = composed.map(({ layers }) => stack(layers, inner));
        }
        if (composed.length === 0) return inner.call(request, reply);
        const index = indexOf(composed, request.head);
        return (services[index] ?? inner).call(request, reply);
      },
    };
  };
}

/** -1: no rule matches. */
function indexOf(rules: readonly ComposedRule[], head: RequestHead): number {
  const pathEnd = pathEndOf(head.target);
  for (let index = 0; index < rules.length; index++) {
    if (matches((rules[index] as ComposedRule).conditions, head, pathEnd)) return index;
  }
  return -1;
}

function matches(conditions: readonly Condition[], head: RequestHead, pathEnd: number): boolean {
  for (const condition of conditions) if (!condition(head, pathEnd)) return false;
  return true;
}
