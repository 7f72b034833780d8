import { openAdminClient } from "../admin-client.js";
import type { CommandBody } from "../command.js";
import { exitCodes } from "../failure.js";
import { printJson, printLines } from "../output/print.js";
import type { federationRemoveSettings } from "../settings/federation-settings.js";

/** `remora federation remove` */
export const federationRemove: CommandBody<typeof federationRemoveSettings> = async (
  settings,
  [trustDomain = ""],
  terminal,
) => {
  const client = await openAdminClient(settings, terminal);
  await client.delete(`/v1/federation/${encodeURIComponent(trustDomain)}`);
  if (settings.output === "json") printJson(terminal, { removed: trustDomain });
  else
    printLines(terminal, [
      `${trustDomain} is no longer federated: nobody of it is believed, open connections end`,
    ]);
  return exitCodes.ok;
};
