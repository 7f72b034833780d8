import { z } from "zod";
import { maxMaglevTableSize, maxRingSize } from "../load-balancer-config.js";
import { choice, headerName, notSupported, percent, duration, positiveDuration } from "./field.js";
import { InstanceMeta } from "./subset.js";

const only = () => z.literal(true, { error: "must be true; leave it out otherwise" }).optional();

const HashPolicySpec = z.strictObject({
  header: headerName().optional().describe("Name of a header: all of its values count."),
  cookie: z
    .strictObject({
      name: headerName().describe("Name of the cookie."),
      ttl: duration()
        .optional()
        .describe(
          "Given: a client without the cookie gets one that lasts so long, and stays where it was first sent to. 0s: until the browser is closed.",
        ),
      path: z
        .string()
        .max(1024)
        .regex(/^\/[!-:<-~]*$/, { error: "must begin with / and have no space and no semicolon" })
        .optional()
        .describe("Path of the cookie that is given; / when absent."),
    })
    .optional()
    .describe("A cookie."),
  query: z.string().min(1).max(256).optional().describe("Name of a query parameter: its first value counts."),
  terminal: z
    .boolean()
    .optional()
    .describe("Whether the entries after this one count only for requests that have no key so far."),
  sourceIdentity: only().describe(
    "The identity of the caller whose request the application is working on; its own where none is known.",
  ),
  sourceIP: only().describe(
    "The address of that caller; a request for which none is known has no such part.",
  ),
});
export type HashPolicySpec = z.infer<typeof HashPolicySpec>;

/** `loadBalancer` of a TrafficPolicy: the choice of the endpoint. */
export const LoadBalancer = z.strictObject({
  policy: choice(["peak_ewma", "least_request", "round_robin", "random", "ring_hash", "maglev"])
    .optional()
    .describe(
      "peak_ewma: the better of two random endpoints by latency and requests under way; least_request: of choiceCount random endpoints the one with the fewest requests under way; round_robin: in turn; random; ring_hash and maglev: by hashPolicy, equal keys to one endpoint.",
    ),
  choiceCount: z
    .int()
    .min(2)
    .max(100)
    .optional()
    .describe("least_request: how many random endpoints are compared; 2 when absent."),
  ringHash: z
    .strictObject({
      minimumRingSize: z
        .int()
        .min(1)
        .max(maxRingSize)
        .optional()
        .describe("Places on the ring at least: more make the shares more even; 1024 when absent."),
      maximumRingSize: z
        .int()
        .min(1)
        .max(maxRingSize)
        .optional()
        .describe(`Places on the ring at most; ${maxRingSize} when absent.`),
    })
    .optional()
    .describe("Size of the ring of ring_hash."),
  maglev: z
    .strictObject({
      tableSize: z
        .int()
        .min(2)
        .max(maxMaglevTableSize)
        .optional()
        .describe("Entries of the table, a prime, well above the number of endpoints; 65537 when absent."),
    })
    .optional()
    .describe("Size of the table of maglev."),
  hashPolicy: z
    .array(HashPolicySpec)
    .min(1)
    .max(8)
    .optional()
    .describe(
      "ring_hash and maglev: what makes up the key of a request, all that are found together. A request without any goes to a random endpoint.",
    ),
  slowStart: positiveDuration()
    .optional()
    .describe(
      "An endpoint that is new, or comes back from an ejection, gets a share that grows along a line over this time, from a tenth of its own on.",
    ),
  subset: InstanceMeta.optional().describe(
    "Metadata that an instance must have to be sent what names no subset.",
  ),
  subsetFallback: choice(["none", "any"])
    .optional()
    .describe(
      "What happens while no instance has the metadata of a subset. none: 503, the default; any: all instances are used.",
    ),
  locality: z
    .strictObject({
      panicThreshold: percent()
        .optional()
        .describe(
          "Below this share of usable endpoints, in percent, ejections are ignored and all are used. 0 = never.",
        ),
      preferLocal: z
        .boolean()
        .optional()
        .describe(
          "true: requests stay in the caller's own zone while enough of it is usable. false: zones do not matter.",
        ),
      spillover: percent()
        .optional()
        .describe(
          "With preferLocal: below this share of usable endpoints in the own zone, in percent, the missing share goes to the other zones.",
        ),
      failover: notSupported("spec.failover names services and datacenters"),
      distribute: notSupported(),
    })
    .optional()
    .describe("Where requests may go when endpoints fail."),
});
export type LoadBalancerSpec = z.infer<typeof LoadBalancer>;
