import { readFile } from "node:fs/promises";
import { openAdminClient } from "../admin-client.js";
import type { CommandBody } from "../command.js";
import { CommandError, exitCodes } from "../failure.js";
import { printJson, printLines } from "../output/print.js";
import type { federationAddSettings } from "../settings/federation-settings.js";

/** `remora federation add` */
export const federationAdd: CommandBody<typeof federationAddSettings> = async (
  settings,
  _operands,
  terminal,
) => {
  const { trustDomain, endpoint, endpointSpiffeId, bundleFile, output } = settings;
  const client = await openAdminClient(settings, terminal);
  const bundle = bundleFile === undefined ? undefined : await readBundleFile(bundleFile, terminal);
  await client.post("/v1/federation", JSON.stringify({ trustDomain, endpoint, endpointSpiffeId, bundle }));
  if (output === "json") printJson(terminal, { trustDomain });
  else
    printLines(terminal, [
      `${trustDomain} is federated: identities that its CA vouches for are believed now`,
    ]);
  return exitCodes.ok;
};

async function readBundleFile(file: string, { input }: { input(): Promise<string> }): Promise<string> {
  if (file === "-") return input();
  try {
    return await readFile(file, "utf8");
  } catch (error: unknown) {
    const { code } = error as NodeJS.ErrnoException;
    throw new CommandError(
      `--bundle-file: ${file} cannot be read (${code}); check the path and its permissions`,
      { cause: error },
    );
  }
}
