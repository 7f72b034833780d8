import { pino, type DestinationStream, type Logger } from "pino";
import type { RenewalEvent } from "../../src/identity/renewal.js";
import type { EnrollmentEvent } from "../ca/enrollment-handler.js";
import type { ControlPlaneSettings } from "../settings.js";

export type { Logger };

/** JSON lines on standard error; standard output belongs to commands. Level and time as a sidecar writes them. */
export function createLogger(
  level: NonNullable<ControlPlaneSettings["logLevel"]>,
  to: DestinationStream = pino.destination(2),
): Logger {
  const { isoTime } = pino.stdTimeFunctions;
  const formatters = { level: (label: string) => ({ level: label }) };
  return pino({ name: "remora-control-plane", level, timestamp: isoTime, formatters }, to);
}

/** As createRefusalLog gives it. */
export type RefusalLog = (fields: Readonly<Record<string, string>>, message: string) => void;

/** One line per certificate: who, by what right, until when. */
export function logEnrollment(log: Logger, logRefusal: RefusalLog, event: EnrollmentEvent): void {
  switch (event.kind) {
    case "issued": {
      const { caller, address, by, serial, notAfterMs } = event;
      const fields = { service: caller.service, namespace: caller.namespace, address, by, serial };
      return log.info({ ...fields, notAfter: new Date(notAfterMs).toISOString() }, "certificate issued");
    }
    case "refused":
      return logRefusal({ address: event.address, reason: event.reason }, "certificate refused");
  }
}

/** Of a folder full of mistakes. */
const maxToldProblems = 20;

/** What is wrong in the policy folder, each time that it changes: whoever edits files there hears of it nowhere else. */
export function logPolicyProblems(
  log: Logger,
  problems: readonly { readonly file: string; readonly message: string }[],
): void {
  if (problems.length === 0) return log.info("the policy folder is without mistakes again");
  for (const { file, message } of problems.slice(0, maxToldProblems))
    log.warn({ file, problem: message }, "mistake in the policy folder: what was in force before stays");
}

/** What becomes of the control plane's own certificate. */
export function logRenewal(log: Logger, event: RenewalEvent): void {
  switch (event.kind) {
    case "renewed":
      return log.info({ notAfter: new Date(event.svid.notAfterMs).toISOString() }, "own certificate renewed");
    case "failed":
      return log.warn(
        { reason: String(event.error), retryInMs: event.retryInMs },
        "own certificate not renewed",
      );
    case "level":
      return event.level === "ok"
        ? log.info("own certificate has most of its life before it")
        : log.warn({ life: event.level }, "own certificate nears its end");
  }
}
