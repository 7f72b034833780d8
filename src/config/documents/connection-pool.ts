import { z } from "zod";
import { duration, limit, notSupported, positiveDuration } from "./field.js";

/** `connectionPool` of a TrafficPolicy: connections and limits. */
export const ConnectionPool = z.strictObject({
  connectTimeout: positiveDuration()
    .optional()
    .describe("Longest wait for a connection, TLS handshake included."),
  maxConnections: limit().optional().describe("Connections per endpoint."),
  maxPendingRequests: limit().optional().describe("Requests that wait for a connection, per endpoint."),
  maxRequests: limit().optional().describe("Requests under way at once, all endpoints together."),
  idleTimeout: positiveDuration()
    .optional()
    .describe(
      "Idle kept-alive connections are closed after this. Keep it below the server's own keep-alive.",
    ),
  tcp: z
    .strictObject({
      idleTimeout: duration()
        .optional()
        .describe(
          "Longest silence in both directions of a TCP connection or an upgraded one (WebSocket). 0s = no limit.",
        ),
      maxConnections: notSupported("see connectionPool.maxConnections"),
      connectTimeout: notSupported("see connectionPool.connectTimeout"),
      tcpKeepalive: notSupported(),
      maxConnectionDuration: notSupported(),
    })
    .optional()
    .describe("TCP connections and upgraded ones."),
  http2: z
    .strictObject({
      maxConcurrentStreams: limit()
        .optional()
        .describe("Requests under way on one HTTP/2 connection; the peer may allow fewer."),
    })
    .optional()
    .describe("HTTP/2 connections, between sidecars and to applications."),
  maxRetries: limit()
    .optional()
    .describe("Retries under way at once, all endpoints together, beside what retryBudget allows."),
  maxRequestsPerConnection: z
    .int()
    .min(0)
    .max(1_000_000)
    .optional()
    .describe(
      "Requests that one HTTP connection carries in its life; the next one goes on another. 0 = no limit.",
    ),
});
export type ConnectionPoolSpec = z.infer<typeof ConnectionPool>;
