import { describeCertificate, inspectCertificates } from "../../certs/inspect.js";
import type { CommandBody } from "../command.js";
import { exitCodes } from "../failure.js";
import { printJson, printLines } from "../output/print.js";
import { inFile, readPemFile } from "../pem-file.js";
import type { certInspectSettings } from "../settings/ca-settings.js";

/** `remora cert inspect` */
export const certInspect: CommandBody<typeof certInspectSettings> = async (
  { output },
  operands,
  terminal,
) => {
  const [file = "-"] = operands;
  const pem = await readPemFile(file, terminal);
  const certificates = inFile(file, () => inspectCertificates(pem, terminal.clock.wallMs()));
  if (output === "json") printJson(terminal, certificates);
  else printLines(terminal, certificates.flatMap(describeCertificate));
  return exitCodes.ok;
};
