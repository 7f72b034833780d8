import path from "node:path";
import { makeIntermediate } from "../../control-plane/ca/make-intermediate.js";
import type { CommandBody } from "../command.js";
import { exitCodes } from "../failure.js";
import { printJson, printLines } from "../output/print.js";
import { readPassphrase } from "../passphrase-file.js";
import type { caIntermediateSettings } from "../settings/ca-settings.js";

/** `remora ca intermediate`: where the root is; the folder it makes goes to the control plane. */
export const caIntermediate: CommandBody<typeof caIntermediateSettings> = async (
  settings,
  _operands,
  terminal,
) => {
  const out = path.resolve(settings.out);
  const made = await makeIntermediate({
    rootDir: path.resolve(settings.root),
    outDir: out,
    lifetimeMs: settings.ttl,
    passphrase: await readPassphrase("--ca-key-passphrase-file", settings.caKeyPassphraseFile),
    outPassphrase: await readPassphrase("--out-key-passphrase-file", settings.outKeyPassphraseFile),
    nowMs: terminal.clock.wallMs(),
  });
  const facts = {
    dir: out,
    trustDomain: made.trustDomain,
    certFile: path.join(out, "intermediate.crt"),
    keyFile: path.join(out, "intermediate.key"),
    rootFile: path.join(out, "root.crt"),
    notAfter: new Date(made.certificate.notAfterMs).toISOString(),
    rootFingerprintSha256: made.rootFingerprint,
  };
  if (settings.output === "json") printJson(terminal, facts);
  else
    printLines(terminal, [
      `intermediate CA of trust domain ${facts.trustDomain} created in ${out}`,
      `  certificate ${facts.certFile}`,
      `  key         ${facts.keyFile} (keep it secret)`,
      `  root        ${facts.rootFile}`,
      `  valid until ${facts.notAfter}`,
      `  root sha256 ${facts.rootFingerprintSha256}`,
    ]);
  return exitCodes.ok;
};
