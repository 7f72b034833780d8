/** What may go wrong with a request so that its fallback answers, in the words of documents. */
export const fallbackCauses = [
  "open",
  "timeout",
  "5xx",
  "connect-failure",
  "no-endpoint",
  "rate-limited",
] as const;

export type FallbackCause = (typeof fallbackCauses)[number];

/** What a route answers when its backends cannot. */
export interface FallbackConfig {
  /** In the order of fallbackCauses. */
  readonly on: readonly FallbackCause[];
  readonly action: FallbackAction;
  /** The document that set it. Replies that are kept belong to it. */
  readonly source: string;
}

export type FallbackAction =
  | { readonly type: "reply"; readonly reply: FallbackReply }
  /** Name of a cluster; "" when the document names a service that does not exist. */
  | { readonly type: "service"; readonly cluster: string }
  | { readonly type: "cached"; readonly cached: ReplyCacheConfig };

/** A fixed answer. At least one of the two; a request of the other kind keeps its own outcome. */
export interface FallbackReply {
  readonly http?: FallbackHttpReply;
  readonly grpc?: FallbackGrpcReply;
}

export interface FallbackHttpReply {
  /** 200-599 */
  readonly status: number;
  readonly headers: readonly (readonly [name: string, value: string])[];
  /** "" = no body. */
  readonly body: string;
}

export interface FallbackGrpcReply {
  /** 1-16 */
  readonly status: number;
  readonly message: string;
}

/** The last good answers. */
export interface ReplyCacheConfig {
  /** An older answer is not given any more. */
  readonly maxAgeMs: number;
  readonly maxEntries: number;
  /** Heads and bodies of all answers together. */
  readonly maxBytes: number;
}
