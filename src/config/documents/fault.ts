import { z } from "zod";
import { grpcFailureNames } from "../grpc-status-names.js";
import { choice, percent, positiveDuration } from "./field.js";
import { HeaderMatch } from "./header-match.js";

/** RFC 3339 §5.6, with the letters in upper case. */
const timePattern = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)$/;

const missing = ({ input }: { readonly input?: unknown }) =>
  input === undefined ? "a fault must end by itself, within 7 days" : undefined;

const time = () =>
  z.string({ error: missing }).refine((text) => timePattern.test(text) && !Number.isNaN(Date.parse(text)), {
    error: ({ input }) => `"${String(input)}" is not a time like 2026-01-31T12:00:00Z`,
  });

const share = () => percent().optional().describe("Share of the requests, in percent; all when absent.");

/** `fault` of a TrafficPolicy: failures on purpose, for a while. */
export const Fault = z.strictObject({
  delay: z
    .strictObject({
      fixed: positiveDuration().describe("How long a request is held back, at most 5m."),
      percent: share(),
    })
    .optional()
    .describe("Holds requests back before they are sent."),
  abort: z
    .strictObject({
      status: z.int().min(400).max(599).optional().describe("Status of the answer, 400-599."),
      grpcStatus: choice(grpcFailureNames)
        .optional()
        .describe("Status that gRPC calls end with; without status they alone are aborted."),
      percent: share(),
    })
    .optional()
    .describe("Answers requests with a failure instead of sending them."),
  match: z
    .strictObject({
      headers: z.array(HeaderMatch).max(16).optional().describe("Conditions on headers: all must hold."),
    })
    .optional()
    .describe("Which requests it is for; every one when absent."),
  expires: time().describe(
    "When it ends by itself, as 2026-01-31T12:00:00Z: at most 7 days after it is applied.",
  ),
});
export type FaultSpec = z.infer<typeof Fault>;
