import type { BreakerReport, BreakerView } from "../../src/admin/admin-view.js";
import type { CommandBody } from "../command.js";
import { CommandError, exitCodes } from "../failure.js";
import { age } from "../output/age.js";
import { printJson } from "../output/print.js";
import { table } from "../output/table.js";
import type { breakerListSettings } from "../settings/breaker-settings.js";
import { askSidecar } from "../sidecar-client.js";

/** `remora breaker list` */
export const breakerList: CommandBody<typeof breakerListSettings> = async (settings, _operands, terminal) => {
  const report = parse(await askSidecar(settings.adminUrl, "GET", "/breakers"));
  if (settings.output === "json") printJson(terminal, report);
  else terminal.out(breakerTable(report));
  return exitCodes.ok;
};

function parse(body: string): BreakerReport {
  try {
    const report = JSON.parse(body) as BreakerReport;
    if (Array.isArray(report.services)) return report;
  } catch {
    // Told below.
  }
  throw new CommandError("--admin-url: answers otherwise than a sidecar; correct the address");
}

/** The service's breaker first, then those of its endpoints. */
function breakerTable({ services }: BreakerReport): string {
  const rows = services.flatMap(({ service, breaker, endpoints }) => [
    [service, "(service)", ...cells(breaker)],
    ...endpoints.map((each) => [service, each.endpoint, ...cells(each.breaker)]),
  ]);
  const header = ["SERVICE", "ENDPOINT", "STATE", "REASON", "SINCE", "UNTIL", "FAILED", "SLOW", "OPENINGS"];
  return table(header, rows);
}

function cells(breaker: BreakerView | null): readonly string[] {
  if (breaker === null) return ["off", "", "", "", "", "", ""];
  const { state, reason, sinceMs, remainingMs, requests, failures, slow, openings, share } = breaker;
  const isOnRamp = state === "closed" && share < 1;
  return [
    isOnRamp ? `closed (${Math.floor(share * 100)} %)` : state,
    reason,
    age(sinceMs),
    remainingMs > 0 ? age(Math.ceil(remainingMs / 1000) * 1000) : "",
    `${failures}/${requests}`,
    `${slow}/${requests}`,
    `${openings}`,
  ];
}
