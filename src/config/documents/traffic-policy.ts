import { z } from "zod";
import { type GrpcRetryWord, grpcRetryWords } from "../grpc-retry-words.js";
import { choice, duration, notSupported, positiveDuration, serviceName } from "./field.js";
import { Metadata } from "./metadata.js";

const limit = () => z.int().min(1).max(1_000_000);
const percent = () => z.number().min(0).max(100);

const TargetRef = z.strictObject({
  group: z
    .literal("", { error: 'must be "" (the core group of Service)' })
    .optional()
    .describe('"" for Service.'),
  kind: choice(["Service"], ["HTTPRoute", "GRPCRoute", "Gateway"]).describe("Kind of the target: Service."),
  name: serviceName().describe("The service, in the namespace of the policy."),
  sectionName: notSupported(),
});

const LoadBalancer = z.strictObject({
  policy: choice(["round_robin", "peak_ewma"], ["least_request", "random", "ring_hash", "maglev"])
    .optional()
    .describe(
      "round_robin, or peak_ewma: the better of two random endpoints by latency and requests under way.",
    ),
  locality: z
    .strictObject({
      panicThreshold: percent()
        .optional()
        .describe(
          "Below this share of usable endpoints, in percent, ejections are ignored and all are used. 0 = never.",
        ),
      failover: notSupported(),
      distribute: notSupported(),
    })
    .optional()
    .describe("Where requests may go when endpoints fail."),
  choiceCount: notSupported(),
  hashPolicy: notSupported(),
  slowStart: notSupported(),
  subset: notSupported(),
});

const ConnectionPool = z.strictObject({
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
  maxRetries: notSupported("see retryBudget"),
  maxRequestsPerConnection: notSupported(),
});

const OutlierDetection = z.strictObject({
  consecutive5xx: z
    .int()
    .min(0)
    .max(1000)
    .optional()
    .describe("Failures in a row (5xx, connection errors, timeouts) that eject an endpoint. 0 = off."),
  interval: positiveDuration().optional().describe("Window over which the success rate is measured."),
  baseEjectionTime: positiveDuration()
    .optional()
    .describe("First ejection time; it doubles with each further one."),
  maxEjectionTime: positiveDuration().optional().describe("Longest ejection time."),
  maxEjectionPercent: percent()
    .optional()
    .describe("Most endpoints that may be ejected at once, in percent."),
  successRate: z
    .strictObject({
      minimumRatio: z
        .number()
        .min(0)
        .max(1)
        .optional()
        .describe("Share of successes, 0 to 1, below which an endpoint is ejected. 0 = off."),
      requestVolume: z
        .int()
        .min(1)
        .max(1_000_000)
        .optional()
        .describe("Requests in the window below which it is not judged."),
      minimumHosts: notSupported(),
      stdevFactor: notSupported("minimumRatio is a fixed bound"),
    })
    .optional()
    .describe("Ejection by success rate."),
  consecutiveGatewayErrors: notSupported("consecutive5xx counts them"),
  consecutiveLocalOriginFailures: notSupported("consecutive5xx counts them"),
});

/** Words of Envoy's retry_on that are about connections and HTTP statuses. */
const statusRetryWords = [
  "connect-failure",
  "refused-stream",
  "reset",
  "gateway-error",
  "retriable-4xx",
] as const;
const grpcRetryWordList = Object.keys(grpcRetryWords) as GrpcRetryWord[];
const laterRetryWords = [
  "5xx",
  "reset-before-request",
  "retriable-status-codes",
  "retriable-headers",
  "envoy-ratelimited",
  "http3-post-connect-failure",
];

const PolicyRetry = z.strictObject({
  codes: z
    .array(z.int().min(400).max(599))
    .max(64)
    .optional()
    .describe("Response statuses that are retried, 400-599."),
  attempts: z.int().min(1).max(10).optional().describe("Further attempts after the first, 1-10."),
  backoff: z
    .strictObject({
      base: duration()
        .optional()
        .describe("Upper bound of the first wait; it doubles with each attempt, with full jitter."),
      max: duration().optional().describe("Upper bound of any wait."),
    })
    .optional()
    .describe("Waiting between attempts."),
  methods: z
    .array(z.string().regex(/^[A-Z][A-Z-]{0,31}$/, { error: "must be a method in upper case, like GET" }))
    .max(16)
    .optional()
    .describe("Methods that may be sent again after the upstream may have worked on them."),
  bufferLimit: z
    .string()
    .regex(/^[0-9]{1,6}(B|KiB|MiB)$/, { error: "must be a size like 64KiB" })
    .optional()
    .describe("Request bytes kept for sending again, at most 1MiB; a longer body is not retried."),
  on: z
    .array(choice([...statusRetryWords, ...grpcRetryWordList], laterRetryWords))
    .max(16)
    .optional()
    .describe(
      "What is retried, in Envoy's words. gateway-error: 502, 503, 504; retriable-4xx: 409; both beside codes. cancelled, deadline-exceeded, internal, resource-exhausted, unavailable: gRPC statuses. connect-failure, refused-stream and reset are retried in any case.",
    ),
  perTryTimeout: notSupported("see timeouts.backendRequest"),
});
export type PolicyRetrySpec = z.infer<typeof PolicyRetry>;

const RetryBudget = z.strictObject({
  percent: percent().optional().describe("Share of the requests that may be retries, in percent."),
  minRetriesPerSecond: z
    .number()
    .min(0)
    .max(10_000)
    .optional()
    .describe("Retries per second that are always allowed."),
  interval: positiveDuration().optional().describe("Window over which requests are counted."),
});

/** `TrafficPolicy` of Remora: how callers treat a service. One per service. */
export const TrafficPolicy = z.strictObject({
  apiVersion: choice(["remora.mesh/v1"]).describe("Version of Remora's documents."),
  kind: z.literal("TrafficPolicy").describe("TrafficPolicy."),
  metadata: Metadata.describe("Who the document is."),
  spec: z
    .strictObject({
      targetRefs: z
        .array(TargetRef)
        .min(1, { error: "must name at least one service" })
        .max(16)
        .describe("The services that the policy holds for."),
      protocol: choice(["http", "http2", "grpc", "tcp"])
        .optional()
        .describe("What the service speaks, whatever its instances say."),
      loadBalancer: LoadBalancer.optional().describe("Choice of the endpoint."),
      connectionPool: ConnectionPool.optional().describe("Connections and limits."),
      outlierDetection: OutlierDetection.optional().describe(
        "Endpoint breaker: ejects failing endpoints for a while.",
      ),
      retry: PolicyRetry.optional().describe("Retries of routes that say nothing themselves."),
      retryBudget: RetryBudget.optional().describe("Bound of all retries together, against retry storms."),
      timeouts: z
        .strictObject({
          request: duration().optional().describe("Caps the whole request, retries included. 0s = none."),
          backendRequest: duration().optional().describe("Caps each attempt. 0s = none."),
        })
        .optional()
        .describe("Time limits of routes that say nothing themselves."),
      mtls: z
        .strictObject({
          mode: choice(["STRICT", "PERMISSIVE", "DISABLE"]).describe(
            "STRICT: mTLS only. PERMISSIVE: plaintext too, for instances and callers without a sidecar. DISABLE: plaintext only.",
          ),
          peerIdentity: notSupported("the identity of a service is derived from its name"),
        })
        .optional()
        .describe("Encryption and identity of the connections."),
      rateLimit: notSupported(),
      fault: notSupported(),
    })
    .describe("What the policy says."),
  status: z.unknown().optional().describe("Written by Remora; ignored on input."),
});
export type TrafficPolicy = z.infer<typeof TrafficPolicy>;
