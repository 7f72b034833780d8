import type { InboundConfig, InboundRule } from "../config/inbound-config.js";
import { decodeAuthorization, encodeAuthorization } from "./authorization-resource.js";
import type { Fields } from "./fields.js";
import { decodeIdempotency, encodeIdempotency } from "./idempotency-resource.js";
import { decodeLoadShedding, encodeLoadShedding } from "./load-shedding-resource.js";
import { decodePriority, encodePriority } from "./priority-resource.js";
import { decodeProtocol, encodeProtocol } from "./protocol.js";
import { decodeRateLimit, encodeRateLimit } from "./rate-limit-resource.js";
import { decodeMatch, encodeMatch } from "./route-match.js";
import { decodeStreamIdle, encodeStreamIdle } from "./stream-idle-resource.js";

/** remora.v1.Inbound. */
export function encodeInbound(inbound: InboundConfig): object {
  const { mtlsMode, maxRequests, shedding, protocol, tunnelIdle, authorization, rules } = inbound;
  return {
    mtlsMode,
    maxRequests,
    ...(shedding !== undefined && { shedding: encodeLoadShedding(shedding) }),
    ...(protocol !== undefined && { protocol: encodeProtocol(protocol) }),
    ...(tunnelIdle !== undefined && { tunnelIdle: encodeStreamIdle(tunnelIdle) }),
    ...(authorization !== undefined && { authorization: encodeAuthorization(authorization) }),
    ...(rules !== undefined && { rules: rules.map(encodeRule) }),
  };
}

/** Throws ConfigError. */
export function decodeInbound(fields: Fields): InboundConfig {
  const rules = fields.messages("rules");
  const shedding = fields.optionalMessage("shedding");
  const authorization = fields.optionalMessage("authorization");
  const tunnelIdle = fields.optionalMessage("tunnelIdle");
  return {
    mtlsMode: fields.oneOf("mtlsMode", ["STRICT", "PERMISSIVE", "DISABLE"]),
    maxRequests: fields.number("maxRequests", 0, 2 ** 32 - 1),
    ...(shedding !== undefined && { shedding: decodeLoadShedding(shedding) }),
    ...(fields.has("protocol") && { protocol: decodeProtocol(fields, "protocol") }),
    ...(tunnelIdle !== undefined && { tunnelIdle: decodeStreamIdle(tunnelIdle) }),
    ...(authorization !== undefined && { authorization: decodeAuthorization(authorization) }),
    ...(rules.length > 0 && { rules: rules.map(decodeRule) }),
  };
}

function encodeRule({ name, match, rateLimits, idempotency, priority, streamIdle }: InboundRule): object {
  return {
    name,
    match: encodeMatch(match),
    ...(rateLimits !== undefined && { rateLimits: rateLimits.map(encodeRateLimit) }),
    ...(idempotency !== undefined && { idempotency: encodeIdempotency(idempotency) }),
    ...(priority !== undefined && { priority: encodePriority(priority) }),
    ...(streamIdle !== undefined && { streamIdle: encodeStreamIdle(streamIdle) }),
  };
}

function decodeRule(fields: Fields): InboundRule {
  const rateLimits = fields.messages("rateLimits");
  const idempotency = fields.optionalMessage("idempotency");
  const priority = fields.optionalMessage("priority");
  const streamIdle = fields.optionalMessage("streamIdle");
  return {
    name: fields.requiredString("name"),
    match: decodeMatch(fields.message("match")),
    ...(rateLimits.length > 0 && { rateLimits: rateLimits.map(decodeRateLimit) }),
    ...(idempotency !== undefined && { idempotency: decodeIdempotency(idempotency) }),
    ...(priority !== undefined && { priority: decodePriority(priority) }),
    ...(streamIdle !== undefined && { streamIdle: decodeStreamIdle(streamIdle) }),
  };
}
