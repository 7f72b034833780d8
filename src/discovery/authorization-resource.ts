import {
  attributes,
  textMatchTypes,
  type AttributeMatch,
  type AuthorizationConfig,
  type AuthorizationPolicyConfig,
  type AuthorizationRuleConfig,
  type AuthorizationStage,
  type Conditions,
  type TextMatch,
  type Verdict,
} from "../config/authorization-config.js";
import type { Fields } from "./fields.js";

const wireVerdicts = { allow: "LET_THROUGH", deny: "REFUSE" } as const;

/** remora.v1.Authorization. */
export function encodeAuthorization({ stages }: AuthorizationConfig): object {
  return {
    stages: stages.map(({ policies, otherwise, otherwiseInAudit }) => ({
      policies: policies.map(encodePolicy),
      otherwise: wireVerdicts[otherwise],
      ...(otherwiseInAudit !== undefined && { otherwiseInAudit: wireVerdicts[otherwiseInAudit] }),
    })),
  };
}

/** Throws ConfigError. */
export function decodeAuthorization(fields: Fields): AuthorizationConfig {
  return { stages: fields.messages("stages").map(decodeStage) };
}

function encodePolicy({ name, isAudit, rules }: AuthorizationPolicyConfig): object {
  return { name, isAudit: isAudit === true, rules: rules.map(encodeRule) };
}

function encodeRule({ name, action, from, to, when }: AuthorizationRuleConfig): object {
  return {
    name,
    action,
    ...(from !== undefined && { from: from.map(encodeConditions) }),
    ...(to !== undefined && { to: to.map(encodeConditions) }),
    ...(when !== undefined && { when: encodeConditions(when) }),
  };
}

function encodeConditions(matches: Conditions): object {
  return {
    matches: matches.map(({ attribute, header, values, notValues }) => ({
      attribute,
      ...(header !== undefined && { header }),
      ...(values !== undefined && { values }),
      ...(notValues !== undefined && { notValues }),
    })),
  };
}

function decodeStage(fields: Fields): AuthorizationStage {
  return {
    policies: fields.messages("policies").map(decodePolicy),
    otherwise: decodeVerdict(fields, "otherwise"),
    ...(isSet(fields, "otherwiseInAudit") && { otherwiseInAudit: decodeVerdict(fields, "otherwiseInAudit") }),
  };
}

function isSet(fields: Fields, name: string): boolean {
  const absent = "VERDICT_UNSPECIFIED";
  return fields.oneOf(name, [absent, "LET_THROUGH", "REFUSE"], absent) !== absent;
}

function decodeVerdict(fields: Fields, name: string): Verdict {
  return fields.oneOf(name, ["LET_THROUGH", "REFUSE"]) === "LET_THROUGH" ? "allow" : "deny";
}

function decodePolicy(fields: Fields): AuthorizationPolicyConfig {
  return {
    name: fields.requiredString("name"),
    ...(fields.boolean("isAudit") && { isAudit: true as const }),
    rules: fields.messages("rules").map(decodeRule),
  };
}

function decodeRule(fields: Fields): AuthorizationRuleConfig {
  const from = fields.messages("from");
  const to = fields.messages("to");
  const when = fields.optionalMessage("when");
  return {
    name: fields.requiredString("name"),
    action: fields.oneOf("action", ["ALLOW", "DENY", "AUDIT"]),
    ...(from.length > 0 && { from: from.map(decodeConditions) }),
    ...(to.length > 0 && { to: to.map(decodeConditions) }),
    ...(when !== undefined && { when: decodeConditions(when) }),
  };
}

function decodeConditions(fields: Fields): Conditions {
  return fields.messages("matches").map(decodeMatch);
}

function decodeMatch(fields: Fields): AttributeMatch {
  const attribute = fields.oneOf("attribute", attributes);
  const values = fields.messages("values").map(decodeText);
  const notValues = fields.messages("notValues").map(decodeText);
  // A condition that says nothing would hold for all.
  if (values.length + notValues.length === 0) throw fields.error("values", "missing");
  return {
    attribute,
    ...(attribute === "request.header" && { header: fields.requiredString("header") }),
    ...(values.length > 0 && { values }),
    ...(notValues.length > 0 && { notValues }),
  };
}

function decodeText(fields: Fields): TextMatch {
  return {
    type: fields.oneOf("type", textMatchTypes),
    value: fields.string("value"),
    ...(fields.boolean("isCaseless") && { isCaseless: true as const }),
  };
}
