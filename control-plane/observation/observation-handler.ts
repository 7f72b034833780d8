import { status, type sendUnaryData, type ServerUnaryCall } from "@grpc/grpc-js";
import type { CallReport, CallReportAnswer } from "../../src/discovery/proto/observation.js";
import type { Clock } from "../../src/time/clock.js";
import { createCallRate } from "../ca/call-rate.js";
import type { PeerOf } from "../peer.js";
import type { CallFiles } from "./call-files.js";
import { readReport } from "./read-report.js";

export interface ObservationHandlerOptions {
  readonly files: Pick<CallFiles, "report">;
  readonly peerOf: PeerOf;
  readonly clock: Clock;
}

/** Reports of one service from one address, per second: several instances on one machine, each every second at most. */
const reportsPerSecond = 20;

/** The implementation of `remora.v1.Observation`: whose calls they are says the certificate, whatever the report says. */
export function createObservationHandler({ files, peerOf, clock }: ObservationHandlerOptions): {
  readonly Report: (
    call: ServerUnaryCall<CallReport, CallReportAnswer>,
    callback: sendUnaryData<CallReportAnswer>,
  ) => void;
} {
  const rate = createCallRate(reportsPerSecond);
  return {
    Report(call, callback) {
      const { id, identity, address } = peerOf(call);
      if (identity === undefined) {
        const details = "a client certificate is needed to report calls";
        return callback({ code: status.UNAUTHENTICATED, details });
      }
      if (!rate.take(`${id} ${address}`, clock.monotonicMs())) {
        const details = `more than ${reportsPerSecond} reports of calls a second from ${address}`;
        return callback({ code: status.RESOURCE_EXHAUSTED, details });
      }
      const calls = readReport(call.request);
      if (typeof calls === "string") return callback({ code: status.INVALID_ARGUMENT, details: calls });
      const { service, namespace } = identity;
      callback(null, { lost: files.report({ service, namespace }, calls, call.request.lost) });
    },
  };
}
