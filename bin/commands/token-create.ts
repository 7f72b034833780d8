import { formatDuration } from "../../src/time/duration.js";
import { openAdminClient } from "../admin-client.js";
import type { CommandBody } from "../command.js";
import { exitCodes } from "../failure.js";
import { keepSecret } from "../keep-secret.js";
import { printJson, printLines } from "../output/print.js";
import type { tokenCreateSettings } from "../settings/client-settings.js";

/** `remora token create`. Standard output has the token alone, so that scripts can keep it. */
export const tokenCreate: CommandBody<typeof tokenCreateSettings> = async (settings, _operands, terminal) => {
  const { service, namespace, ttl, uses, out, output } = settings;
  const client = await openAdminClient(settings, terminal);
  const wish = { service, namespace, ttl: formatDuration(ttl), uses };
  const reply = (await client.post("/v1/tokens", JSON.stringify(wish))) as TokenReply;
  const expires = new Date(reply.expiresAtMs).toISOString();
  if (out !== undefined) await keepSecret(out, reply.token);
  const facts = { service, namespace, uses, expires };
  if (output === "json")
    printJson(terminal, { ...facts, ...(out === undefined ? { token: reply.token } : { file: out }) });
  else if (out === undefined) printLines(terminal, [reply.token]);
  else
    printLines(terminal, [
      `${out}: join token for ${service}.${namespace}, ${uses} use(s), until ${expires}`,
    ]);
  return exitCodes.ok;
};

/** The part of the answer to POST /v1/tokens that is used here. */
interface TokenReply {
  readonly token: string;
  readonly expiresAtMs: number;
}
