import path from "node:path";
import { fingerprint } from "../../certs/bundle.js";
import { initCa } from "../../control-plane/ca/root-store.js";
import type { CommandBody } from "../command.js";
import { defaultCaDir } from "../default-folders.js";
import { exitCodes } from "../failure.js";
import { printJson, printLines } from "../output/print.js";
import { readPassphrase } from "../passphrase-file.js";
import type { caInitSettings } from "../settings/ca-settings.js";

/** `remora ca init`: what a control plane does at its first start, for those who want the CA before. */
export const caInit: CommandBody<typeof caInitSettings> = async (settings, _operands, terminal) => {
  const dir = path.resolve(settings.dir ?? defaultCaDir(terminal));
  const { trustDomain, output } = settings;
  const passphrase = await readPassphrase("--ca-key-passphrase-file", settings.caKeyPassphraseFile);
  const root = await initCa({ dir, trustDomain, passphrase, nowMs: terminal.clock.wallMs() });
  const facts = {
    dir,
    trustDomain,
    certFile: path.join(dir, "root.crt"),
    keyFile: path.join(dir, "root.key"),
    notAfter: new Date(root.certificate.notAfterMs).toISOString(),
    fingerprintSha256: fingerprint(root.certificate.der),
  };
  if (output === "json") printJson(terminal, facts);
  else
    printLines(terminal, [
      `CA of trust domain ${trustDomain} created in ${dir}`,
      `  certificate ${facts.certFile}`,
      `  key         ${facts.keyFile} (keep it secret, and keep a backup)`,
      `  valid until ${facts.notAfter}`,
      `  sha256      ${facts.fingerprintSha256}`,
    ]);
  return exitCodes.ok;
};
