import { userInfo } from "node:os";
import path from "node:path";
import { issueFiles } from "../../control-plane/ca/offline-issue.js";
import type { CommandBody } from "../command.js";
import { defaultCaDir } from "../default-folders.js";
import { exitCodes } from "../failure.js";
import { printJson, printLines } from "../output/print.js";
import type { certIssueSettings } from "../settings/ca-settings.js";

/** `remora cert issue` */
export const certIssue: CommandBody<typeof certIssueSettings> = async (settings, _operands, terminal) => {
  const { service, namespace, ttl, outDir, output } = settings;
  const files = await issueFiles({
    caDir: settings.caDir ?? defaultCaDir(terminal),
    outDir: path.resolve(outDir),
    service,
    namespace,
    ttlMs: ttl,
    user: userName(),
    clock: terminal.clock,
  });
  const { keyFile, certFile, bundleFile, serial } = files;
  const notAfter = new Date(files.notAfterMs).toISOString();
  if (output === "json")
    printJson(terminal, { service, namespace, keyFile, certFile, bundleFile, serial, notAfter });
  else
    printLines(terminal, [
      `certificate for ${service}.${namespace}, valid until ${notAfter}`,
      `  certificate ${certFile}`,
      `  key         ${keyFile}`,
      `  roots       ${bundleFile}`,
    ]);
  return exitCodes.ok;
};

/** A container may run under a number that has no name. */
function userName(): string {
  try {
    return userInfo().username;
  } catch {
    return String(process.getuid?.() ?? "");
  }
}
