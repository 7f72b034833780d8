import { z } from "zod";
import { choice, positiveDuration } from "./field.js";

const status = z.int().min(100).max(599);
const statusRange = z
  .string()
  .regex(/^[1-5]\d\d-[1-5]\d\d$/, { error: 'must be a status or a range like "200-299"' });

const HttpProbe = z.strictObject({
  path: z
    .string()
    .regex(/^\/[!-"$-~]*$/, { error: "must begin with / and have no spaces, fragment or other than ASCII" })
    .max(1024)
    .describe("Path and query that are asked for."),
  method: choice(["GET", "HEAD", "OPTIONS"]).optional().describe("Method of the request."),
  expectedStatuses: z
    .array(z.union([status, statusRange]))
    .min(1)
    .max(16)
    .optional()
    .describe('Statuses of a healthy endpoint: numbers, or ranges like "200-299".'),
  host: z
    .string()
    .regex(/^[a-z0-9.-]{1,253}(:\d{1,5})?$/, {
      error: "must be a host name in lower case, with or without port",
    })
    .optional()
    .describe("Host of the request; the service's own name when absent."),
});

const GrpcProbe = z.strictObject({
  service: z
    .string()
    .regex(/^[A-Za-z0-9_.]{0,255}$/, { error: "must be the name of a gRPC service" })
    .optional()
    .describe("The service whose health is asked for; the server as a whole when absent."),
});

const HealthCheck = z.strictObject({
  http: HttpProbe.optional().describe("A request over HTTP."),
  grpc: GrpcProbe.optional().describe("A call of grpc.health.v1.Health/Check."),
  tcp: z
    .strictObject({})
    .optional()
    .describe("A connection to the application; for services of protocol tcp."),
  interval: positiveDuration()
    .optional()
    .describe("Time between two checks of an instance, spread by a fifth to both sides."),
  timeout: positiveDuration().optional().describe("Longest wait for the answer."),
  unhealthyThreshold: z
    .int()
    .min(1)
    .max(100)
    .optional()
    .describe("Failures in a row that take an instance out."),
  healthyThreshold: z.int().min(1).max(100).optional().describe("Successes in a row that bring it back."),
  unhealthyInterval: positiveDuration()
    .optional()
    .describe("Interval while an instance is unhealthy; interval when absent."),
  initial: choice(["healthy", "unhealthy"])
    .optional()
    .describe("What a new instance is until its first verdict; unhealthy: its first success brings it in."),
});

/** `healthChecks` of a TrafficPolicy: what callers' sidecars ask the instances, beside the registry's own checks. */
export const HealthChecks = z.array(HealthCheck).min(1).max(4);
export type HealthChecksSpec = z.infer<typeof HealthChecks>;
