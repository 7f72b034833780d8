import { openAdminClient } from "../admin-client.js";
import type { CommandBody } from "../command.js";
import { exitCodes } from "../failure.js";
import { printLines } from "../output/print.js";
import type { federationBundleSettings } from "../settings/federation-settings.js";

/** `remora federation bundle`: what the other mesh's operator passes to `remora federation add --bundle-file`. */
export const federationBundle: CommandBody<typeof federationBundleSettings> = async (
  settings,
  _operands,
  terminal,
) => {
  const client = await openAdminClient(settings, terminal);
  printLines(terminal, [(await client.getText("/v1/bundle?format=spiffe")).trimEnd()]);
  return exitCodes.ok;
};
