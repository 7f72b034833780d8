/** What a service speaks. */
export type Protocol = "http" | "http2" | "grpc" | "tcp";

/** Whether connections to a service are mTLS: always, where both sides can, never. */
export type MtlsMode = "STRICT" | "PERMISSIVE" | "DISABLE";
