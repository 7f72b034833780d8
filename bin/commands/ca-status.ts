import type { RotationView } from "../../control-plane/ca/rotate.js";
import { openAdminClient } from "../admin-client.js";
import type { CommandBody } from "../command.js";
import { exitCodes } from "../failure.js";
import { caLines } from "../output/ca-lines.js";
import { printJson, printLines } from "../output/print.js";
import type { caStatusSettings } from "../settings/client-settings.js";

/** `remora ca status` */
export const caStatus: CommandBody<typeof caStatusSettings> = async (settings, _operands, terminal) => {
  const client = await openAdminClient(settings, terminal);
  const view = (await client.get("/v1/ca")) as RotationView;
  if (settings.output === "json") printJson(terminal, view);
  else printLines(terminal, caLines(view));
  return exitCodes.ok;
};
