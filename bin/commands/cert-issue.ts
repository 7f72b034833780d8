import { userInfo } from "node:os";
import path from "node:path";
import type { Issued } from "../../control-plane/ca/issuer.js";
import { issueFiles, issuePkcs12 } from "../../control-plane/ca/offline-issue.js";
import { ConfigError } from "../../src/errors/config-error.js";
import type { CommandBody } from "../command.js";
import { defaultCaDir } from "../default-folders.js";
import { exitCodes } from "../failure.js";
import { printJson, printLines } from "../output/print.js";
import { readPassphrase } from "../passphrase-file.js";
import type { certIssueSettings } from "../settings/ca-settings.js";

/** `remora cert issue` */
export const certIssue: CommandBody<typeof certIssueSettings> = async (settings, _operands, terminal) => {
  const { service, namespace, ttl, outDir, out, passphraseFile, output } = settings;
  const request = {
    caDir: settings.caDir ?? defaultCaDir(terminal),
    service,
    namespace,
    ttlMs: ttl,
    keyType: settings.keyType,
    passphrase: await readPassphrase("--ca-key-passphrase-file", settings.caKeyPassphraseFile),
    user: userName(),
    clock: terminal.clock,
  };
  if (out === undefined && passphraseFile !== undefined)
    throw new ConfigError("only a PKCS#12 file has a passphrase: give --out FILE.p12", {
      place: "--passphrase-file",
    });
  const answer = (issued: Issued, files: Readonly<Record<string, string>>): void => {
    const { serial } = issued;
    const notAfter = new Date(issued.notAfterMs).toISOString();
    if (output === "json") return printJson(terminal, { service, namespace, ...files, serial, notAfter });
    printLines(terminal, [
      `certificate for ${service}.${namespace}, valid until ${notAfter}`,
      ...Object.entries(files).map(([name, file]) => `  ${labels[name]?.padEnd(11)} ${file}`),
    ]);
  };
  if (out === undefined) {
    const files = await issueFiles({ ...request, outDir: path.resolve(outDir ?? ".") });
    const { keyFile, certFile, bundleFile } = files;
    answer(files, { keyFile, certFile, bundleFile });
  } else {
    if (outDir !== undefined)
      throw new ConfigError("PEM files or one PKCS#12 file, not both: leave --out-dir or --out away", {
        place: "--out",
      });
    if (!/\.(p12|pfx)$/i.test(out))
      throw new ConfigError(`${out} must end in .p12 or .pfx; for PEM files give --out-dir`, {
        place: "--out",
      });
    const files = await issuePkcs12({ ...request, file: path.resolve(out), passphraseFile });
    answer(files, { pkcs12File: files.file, passphraseFile: files.passphraseFile });
  }
  return exitCodes.ok;
};

const labels: Readonly<Record<string, string>> = {
  certFile: "certificate",
  keyFile: "key",
  bundleFile: "roots",
  pkcs12File: "key store",
  passphraseFile: "passphrase",
};

/** A container may run under a number that has no name. */
function userName(): string {
  try {
    return userInfo().username;
  } catch {
    return String(process.getuid?.() ?? "");
  }
}
