export const protocols = ["http", "http2", "grpc", "tcp"] as const;
/** What a service speaks. */
export type Protocol = (typeof protocols)[number];

/** Whether connections to a service are mTLS: always, where both sides can, never. */
export type MtlsMode = "STRICT" | "PERMISSIVE" | "DISABLE";
