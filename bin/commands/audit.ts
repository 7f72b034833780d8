import type { AuditEntry } from "../../control-plane/admin/audit-log.js";
import { openAdminClient } from "../admin-client.js";
import type { CommandBody } from "../command.js";
import { exitCodes } from "../failure.js";
import { printJson } from "../output/print.js";
import { table } from "../output/table.js";
import type { auditSettings } from "../settings/admin-token-settings.js";

/** `remora audit` */
export const audit: CommandBody<typeof auditSettings> = async (settings, _operands, terminal) => {
  const { limit, output } = settings;
  const client = await openAdminClient(settings, terminal);
  const reply = (await client.get(`/v1/audit?limit=${limit}`)) as { readonly entries: readonly AuditEntry[] };
  if (output === "json") {
    printJson(terminal, reply);
    return exitCodes.ok;
  }
  const rows = reply.entries.map(({ at, who, role, from, request, status, what }) => [
    at,
    role === "" ? who : `${who} (${role})`,
    from,
    request,
    String(status),
    what === null ? "" : typeof what === "string" ? what : JSON.stringify(what),
  ]);
  terminal.out(table(["WHEN", "WHO", "FROM", "REQUEST", "STATUS", "WHAT"], rows));
  return exitCodes.ok;
};
