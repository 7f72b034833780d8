import type { CallsView } from "../../control-plane/admin/call-views.js";
import { openAdminClient } from "../admin-client.js";
import type { CommandBody } from "../command.js";
import { exitCodes } from "../failure.js";
import { age } from "../output/age.js";
import { callerName } from "../output/caller-name.js";
import { printJson } from "../output/print.js";
import { table } from "../output/table.js";
import type { policyLogSettings } from "../settings/policy-settings.js";

/** `remora policy log` */
export const policyLog: CommandBody<typeof policyLogSettings> = async (settings, _operands, terminal) => {
  const { service, namespace } = settings;
  const client = await openAdminClient(settings, terminal);
  const at = service === undefined ? "" : `/${encodeURIComponent(namespace)}/${encodeURIComponent(service)}`;
  const view = (await client.get(`/v1/calls${at}`)) as CallsView;
  if (settings.output === "json") printJson(terminal, view);
  else terminal.out(callTable(view, terminal.clock.wallMs()));
  return exitCodes.ok;
};

function callTable({ services, trustDomain }: CallsView, nowMs: number): string {
  const rows = services.flatMap(({ service, namespace, calls }) =>
    calls.map(({ caller, method, path, protocol, verdict, rule, count, lastSeenMs }) => [
      `${service}.${namespace}`,
      callerName(caller, trustDomain),
      protocol,
      method,
      path,
      verdict,
      rule,
      `${count}`,
      age(nowMs - lastSeenMs),
    ]),
  );
  if (rows.length === 0)
    return "no call has been observed; sidecars report every --observe-calls (10s), those called and not those calling\n";
  const header = ["SERVICE", "CALLER", "PROTOCOL", "METHOD", "PATH", "VERDICT", "RULE", "CALLS", "LAST SEEN"];
  return table(header, rows);
}
