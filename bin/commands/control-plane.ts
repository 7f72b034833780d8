import { once } from "node:events";
import { startControlPlane } from "../../control-plane/app.js";
import type { CommandBody } from "../command.js";
import { readConsulToken } from "../consul-token.js";
import { defaultDataDir } from "../default-folders.js";
import { exitCodes } from "../failure.js";
import { readPassphrase } from "../passphrase-file.js";
import type { controlPlaneSettings } from "../settings/control-plane-settings.js";

/** `remora control-plane`: until SIGTERM or SIGINT. */
export const controlPlane: CommandBody<typeof controlPlaneSettings> = async (
  settings,
  _operands,
  terminal,
) => {
  const { listen, admin, policies, ca, intentions, trustDomain, leafTtl, consul, datacenter, logLevel } =
    settings;
  const { defaultAction } = settings;
  const token = await readConsulToken(settings.consulTokenFile);
  const running = await startControlPlane({
    dataDir: settings.dataDir ?? defaultDataDir(terminal),
    listen,
    admin,
    policiesDir: policies,
    ca,
    intentions,
    trustDomain,
    defaultAction,
    leafTtlMs: leafTtl,
    leafKeyType: settings.leafKeyType,
    jwtTtlMs: settings.jwtTtl,
    federationListen: settings.federationListen,
    federationRefreshHint: Math.ceil(settings.federationRefreshHint / 1000),
    caPassphrase: await readPassphrase("--ca-key-passphrase-file", settings.caKeyPassphraseFile),
    logLevel,
    consul:
      consul === undefined ? undefined : { url: consul, token, caFile: settings.consulCaFile, datacenter },
  });
  await Promise.race([once(process, "SIGTERM"), once(process, "SIGINT")]);
  // The next one ends the process at once: what is on disk is whole at any moment.
  await running.close();
  return exitCodes.ok;
};
