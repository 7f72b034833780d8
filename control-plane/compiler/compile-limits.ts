import type { RuleSpec } from "../../src/config/documents/http-route.js";
import type { RouteConfig } from "../../src/config/snapshot.js";
import type { StreamIdleConfig } from "../../src/config/stream-idle-config.js";
import { compileRetry } from "./compile-retry.js";
import { milliseconds } from "./milliseconds.js";
import { type FoundField, mergedSection, nearestField, type Policies } from "./policies-for.js";

/** What a rule says itself of limits. */
export type OwnLimits = Pick<RuleSpec, "timeouts" | "retry">;

export type Limits = Pick<
  RouteConfig,
  "timeoutMs" | "attemptTimeoutMs" | "streamIdleMs" | "limitSources" | "retry"
>;

/**
 * Time limits and retries: the rule's own, else those of its policies, the nearest first. 0s is a limit that was taken away.
 *
 * @param source the document of the rule.
 */
export function compileLimits(rule: OwnLimits, policies: Policies, source: string): Limits {
  const own = (text: string | undefined): FoundField | undefined =>
    text === undefined ? undefined : { text, source };
  const request = own(rule.timeouts?.request) ?? nearestField(policies, ({ timeouts }) => timeouts?.request);
  const attempt =
    own(rule.timeouts?.backendRequest) ??
    nearestField(policies, ({ timeouts, retry }) => timeouts?.backendRequest ?? retry?.perTryTimeout);
  const streamIdle = streamIdleOf(policies);
  const timeoutMs = milliseconds(request?.text, 0);
  const attemptTimeoutMs = milliseconds(attempt?.text, 0);
  const retry = compileRetry(rule.retry, mergedSection(policies, "retry"));
  const foreign = (limit: FoundField | undefined): string | undefined =>
    limit === undefined || limit.source === source ? undefined : limit.source;
  const sources = {
    ...(timeoutMs > 0 && named("request", foreign(request))),
    ...(attemptTimeoutMs > 0 && named("attempt", foreign(attempt))),
    ...named("streamIdle", foreign(streamIdle)),
  };
  return {
    ...(timeoutMs === 0 ? {} : { timeoutMs }),
    ...(attemptTimeoutMs === 0 ? {} : { attemptTimeoutMs }),
    ...(streamIdle === undefined ? {} : { streamIdleMs: milliseconds(streamIdle.text, 0) }),
    ...(Object.keys(sources).length === 0 ? {} : { limitSources: sources }),
    ...(retry === undefined ? {} : { retry }),
  };
}

function streamIdleOf(policies: Policies): FoundField | undefined {
  return nearestField(policies, ({ timeouts }) => timeouts?.streamIdle);
}

/** The same silence at the called side, whose server connections have a limit of their own, too. */
export function compileStreamIdle(policies: Policies): StreamIdleConfig | undefined {
  const found = streamIdleOf(policies);
  return found === undefined ? undefined : { idleMs: milliseconds(found.text, 0), source: found.source };
}

/** The silence of TCP connections and upgraded ones at the called side; callers keep it by their cluster. */
export function compileTunnelIdle(policies: Policies): StreamIdleConfig | undefined {
  const found = nearestField(policies, ({ connectionPool }) => connectionPool?.tcp?.idleTimeout);
  return found === undefined ? undefined : { idleMs: milliseconds(found.text, 0), source: found.source };
}

function named(name: string, value: string | undefined): Readonly<Record<string, string>> {
  return value === undefined ? {} : { [name]: value };
}
