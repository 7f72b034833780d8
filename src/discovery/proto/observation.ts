import type { MethodDefinition } from "@grpc/grpc-js";
import type { ObservedCall } from "../../policy/call-recorder.js";
import { remoraService } from "./remora-service.js";

/**
 * `remora.v1.Observation`: a sidecar tells what was called since it told last. Whose calls they are says the client
 * certificate. Field numbers are a promise to sidecars of other versions.
 */
export interface CallReport {
  readonly calls: readonly ReportedCall[];
  /** Calls that there was no place for. */
  readonly lost: number;
}

/** Of a report: with all of them as long as they may be, it is below what gRPC takes. */
export const maxCallsInReport = 1000;

/** As an `ObservedCall`; what a sidecar of another version says is not checked yet. */
export type ReportedCall = {
  readonly [K in keyof ObservedCall]: ObservedCall[K] extends number ? number : string;
};

export interface CallReportAnswer {
  /** Calls of this report that there was no place for. */
  readonly lost: number;
}

/** The gRPC service definition, for both ends. */
export const observationService = remoraService<{
  readonly Report: MethodDefinition<CallReport, CallReportAnswer>;
}>("Observation", {
  ReportedCall: {
    fields: {
      caller: { type: "string", id: 1 },
      method: { type: "string", id: 2 },
      path: { type: "string", id: 3 },
      port: { type: "uint32", id: 4 },
      protocol: { type: "string", id: 5 },
      verdict: { type: "string", id: 6 },
      rule: { type: "string", id: 7 },
      count: { type: "uint32", id: 8 },
    },
  },
  CallReport: {
    fields: {
      calls: { rule: "repeated", type: "ReportedCall", id: 1 },
      lost: { type: "uint32", id: 2 },
    },
  },
  CallReportAnswer: { fields: { lost: { type: "uint32", id: 1 } } },
  Observation: {
    methods: { Report: { requestType: "CallReport", responseType: "CallReportAnswer" } },
  },
});
