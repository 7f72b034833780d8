import path from "node:path";
import { encryptCaKeys } from "../../control-plane/ca/encrypt-key.js";
import type { CommandBody } from "../command.js";
import { defaultCaDir } from "../default-folders.js";
import { exitCodes } from "../failure.js";
import { printJson, printLines } from "../output/print.js";
import { readPassphrase } from "../passphrase-file.js";
import type { caEncryptKeySettings } from "../settings/ca-settings.js";

/** `remora ca encrypt-key` */
export const caEncryptKey: CommandBody<typeof caEncryptKeySettings> = async (
  settings,
  _operands,
  terminal,
) => {
  const files = await encryptCaKeys({
    dir: path.resolve(settings.dir ?? defaultCaDir(terminal)),
    passphrase: (await readPassphrase("--ca-key-passphrase-file", settings.caKeyPassphraseFile)) ?? "",
    oldPassphrase: await readPassphrase("--old-passphrase-file", settings.oldPassphraseFile),
  });
  if (settings.output === "json") printJson(terminal, { files });
  else
    printLines(terminal, [
      ...files.map((file) => `${file} is encrypted`),
      "start the control plane with --ca-key-passphrase-file from now on",
    ]);
  return exitCodes.ok;
};
