import type { SuggestionView } from "../../control-plane/admin/policy-routes.js";
import { openAdminClient } from "../admin-client.js";
import type { CommandBody } from "../command.js";
import { exitCodes } from "../failure.js";
import { printJson } from "../output/print.js";
import type { policySuggestSettings } from "../settings/policy-settings.js";

/** `remora policy suggest`: the document on standard output, doubts also on standard error, where a redirection does not hide them. */
export const policySuggest: CommandBody<typeof policySuggestSettings> = async (
  settings,
  _operands,
  terminal,
) => {
  const { service, namespace, mode, output } = settings;
  const client = await openAdminClient(settings, terminal);
  const at = `${encodeURIComponent(namespace)}/${encodeURIComponent(service)}?mode=${mode}`;
  const view = (await client.get(`/v1/policy/suggestion/${at}`)) as SuggestionView;
  for (const doubt of [...view.doubts, ...view.leftOut.map((line) => `not admitted: ${line}`)])
    terminal.error(`remora: warning: ${doubt}\n`);
  if (output === "json") printJson(terminal, view);
  else terminal.out(view.yaml);
  return exitCodes.ok;
};
