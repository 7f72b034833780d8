import type { RevokeResult } from "../../control-plane/ca/revoke.js";
import { openAdminClient } from "../admin-client.js";
import type { CommandBody } from "../command.js";
import { exitCodes, UsageError } from "../failure.js";
import { printJson, printLines } from "../output/print.js";
import type { certRevokeSettings } from "../settings/client-settings.js";

/** `remora cert revoke` */
export const certRevoke: CommandBody<typeof certRevokeSettings> = async (settings, operands, terminal) => {
  const { service, namespace, node, reason, output } = settings;
  const [serial] = operands;
  if ([serial, service, node].filter((each) => each !== undefined).length !== 1)
    throw new UsageError(
      "cert revoke",
      "what to revoke is not clear; give one of SERIAL, --service and --node",
    );
  const client = await openAdminClient(settings, terminal);
  const what = service === undefined ? { serial, node } : { service, namespace };
  const wish = JSON.stringify({ ...what, reason });
  const { revoked, tokensVoided } = (await client.post("/v1/certificates/revoke", wish)) as RevokeResult;
  if (output === "json") printJson(terminal, { revoked, tokensVoided });
  else
    printLines(terminal, [
      ...revoked.map(({ id, serial: one }) => `revoked ${one} of ${id}`),
      `${count(revoked.length, "certificate")} revoked, ${count(tokensVoided, "join token")} made void; only a new token lets it join again`,
    ]);
  return exitCodes.ok;
};

const count = (number: number, what: string): string => `${number} ${what}${number === 1 ? "" : "s"}`;
