import type { AuthorizationConfig } from "../../src/config/authorization-config.js";
import type { AuthorizationAttributes } from "../../src/policy/authorization-attributes.js";
import {
  compileAuthorization,
  nameOf,
  type Authorizer,
  type Decision,
} from "../../src/policy/authorization-decision.js";
import type { ObservedCall } from "../../src/policy/call-recorder.js";
import { other } from "../../src/traffic/path-shape.js";
import { examplePaths } from "./example-paths.js";
import { bothWays, type IsUnknown } from "./unrecorded.js";

/**
 * What policies say to calls. audit: allowed, and refused if the policies that are tried out were in force. depends: allowed or
 * refused by something that is not recorded.
 */
export type Outcome = "allow" | "audit" | "deny" | "depends";

export interface Judgement {
  readonly outcome: Outcome;
  /** What decides: a rule by its name, `implicit-deny`; "" = nothing is said about it. Of `depends`: what refuses. */
  readonly rule: string;
  /** Of `depends`: what it depends on. */
  readonly on: string;
}

/** What a call is decided by; how often it came does not matter. */
export type JudgedCall = Pick<ObservedCall, "caller" | "method" | "path" | "port" | "protocol">;

export type Judge = (call: JudgedCall) => Judgement;

const neverRecorded: ReadonlySet<string> = new Set(["request.header", "request.host", "source.ip"]);

/** @param notable segments of paths that the policies tell apart (example-paths.ts). */
export function createJudge(config: AuthorizationConfig, notable: readonly string[]): Judge {
  /** Key: what is not known of a call. */
  const compiled = new Map<string, readonly [mildest: Authorizer, strictest: Authorizer]>();
  const authorizersFor = (call: JudgedCall): readonly [Authorizer, Authorizer] => {
    const key = `${call.caller === other} ${call.method === other} ${call.path === other} ${call.protocol === "tcp"}`;
    let known = compiled.get(key);
    if (known === undefined) {
      const { mildest, strictest } = bothWays(config, unknownOf(call));
      compiled.set(key, (known = [compileAuthorization(mildest), compileAuthorization(strictest)]));
    }
    return known;
  };
  return (call) => {
    const [mildest, strictest] = authorizersFor(call);
    let found: Judgement | undefined;
    for (const path of examplePaths(call.path, notable)) {
      const attributes = attributesOf(call, path);
      const mild = judgementOf(mildest.decide(attributes));
      const strict = judgementOf(strictest.decide(attributes));
      if (mild.outcome !== strict.outcome) return uncertain(strict, dependsOn(config, call));
      if (found === undefined) found = strict;
      else if (found.outcome !== strict.outcome)
        return uncertain(graver(found, strict), `what * stands for, like ${path}`);
    }
    return found ?? { outcome: "allow", rule: "", on: "" };
  };
}

/** By policies that are tried out, too, it may be refused: that is as much as they ever say. */
function uncertain(strict: Judgement, on: string): Judgement {
  return { ...strict, outcome: strict.outcome === "deny" ? "depends" : strict.outcome, on };
}

function graver(a: Judgement, b: Judgement): Judgement {
  return [a, b].find(({ outcome }) => outcome === "deny") ?? (a.outcome === "audit" ? a : b);
}

function unknownOf({ caller, method, path, protocol }: JudgedCall): IsUnknown {
  return ({ attribute }) => {
    if (attribute === "source.ip") return true;
    if (attribute.startsWith("source.")) return caller === other;
    // Of a connection these are not unknown: it has none.
    if (protocol === "tcp") return false;
    if (attribute === "request.method") return method === other;
    if (attribute === "request.path") return path === other;
    return neverRecorded.has(attribute);
  };
}

/** The attributes that the policies ask for and that nobody noted. */
function dependsOn({ stages }: AuthorizationConfig, call: JudgedCall): string {
  const isUnknown = unknownOf(call);
  const names = stages
    .flatMap(({ policies }) => policies)
    .flatMap(({ rules }) => rules)
    .flatMap(({ from = [], to = [], when = [] }) => [...from.flat(), ...to.flat(), ...when])
    .filter(isUnknown)
    .map(({ attribute, header }) => (header === undefined ? attribute : `${attribute} ${header}`));
  return [...new Set(names)].join(", ");
}

function attributesOf(call: JudgedCall, path: string): AuthorizationAttributes {
  const { caller, method, port, protocol } = call;
  return {
    principal: caller === "" || caller === other ? undefined : caller,
    sourceIp: "",
    port,
    http: protocol === "tcp" ? undefined : { method, authority: "", path, headers: [] },
  };
}

function judgementOf({ verdict, by, wouldDeny }: Decision): Judgement {
  const rule = by === null ? "" : nameOf(by);
  if (verdict === "deny") return { outcome: "deny", rule, on: "" };
  return wouldDeny === null
    ? { outcome: "allow", rule, on: "" }
    : { outcome: "audit", rule: nameOf(wouldDeny), on: "" };
}
