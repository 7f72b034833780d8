import type { AuthorizationConfig } from "./authorization-config.js";
import type { LoadSheddingConfig } from "./load-shedding-config.js";
import type { PriorityConfig } from "./priority-config.js";
import type { MtlsMode, Protocol } from "./protocol.js";
import type { IdempotencyConfig } from "./idempotency-config.js";
import type { RateLimitConfig } from "./rate-limit-config.js";
import type { RouteMatch } from "./route-match.js";
import type { StreamIdleConfig } from "./stream-idle-config.js";

/** What the inbound listener does for the local application. */
export interface InboundConfig {
  /** STRICT: mTLS only. PERMISSIVE: plaintext is served too. DISABLE: plaintext only. */
  readonly mtlsMode: MtlsMode;
  /** Requests under way at the application at once; 0 = no limit. */
  readonly maxRequests: number;
  /** Who is turned away, and when. Absent: whoever comes when `maxRequests` are under way. */
  readonly shedding?: LoadSheddingConfig;
  /** What the application speaks, when a policy says so; absent: what the sidecar was started with. */
  readonly protocol?: Protocol;
  /** Silence of TCP connections and upgraded ones. Absent: clusterDefaults.tunnelIdleMs. */
  readonly tunnelIdle?: StreamIdleConfig;
  /** Who may do what. Absent: everybody everything. */
  readonly authorization?: AuthorizationConfig;
  /** In order of precedence: the first match counts. Absent when no policy asks for anything here. */
  readonly rules?: readonly InboundRule[];
}

/** What is done with the requests that match, before the application gets them. */
export interface InboundRule {
  /** Unique among the rules and stable over pushes: a route's name, or `default`. */
  readonly name: string;
  readonly match: RouteMatch;
  /** All must admit a request. Absent: no limit. */
  readonly rateLimits?: readonly RateLimitConfig[];
  /** Absent: keys mean nothing. */
  readonly idempotency?: IdempotencyConfig;
  /** For callers whose sidecar says nothing. Absent: default. */
  readonly priority?: PriorityConfig;
  /** Absent: the server connection's default. */
  readonly streamIdle?: StreamIdleConfig;
}
