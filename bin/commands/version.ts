import { version } from "../../src/version.js";
import type { CommandBody } from "../command.js";
import { exitCodes } from "../failure.js";
import { printJson, printLines } from "../output/print.js";
import type { versionSettings } from "../settings/ca-settings.js";

/** `remora version` */
export const showVersion: CommandBody<typeof versionSettings> = async ({ output }, _operands, terminal) => {
  const facts = { version, node: process.version, platform: `${process.platform}-${process.arch}` };
  if (output === "json") printJson(terminal, facts);
  else printLines(terminal, [`remora ${version} (node ${facts.node}, ${facts.platform})`]);
  return exitCodes.ok;
};
