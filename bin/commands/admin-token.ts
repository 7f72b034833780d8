import type { AdminTokenView } from "../../control-plane/admin/admin-tokens.js";
import { formatDuration } from "../../src/time/duration.js";
import { openAdminClient } from "../admin-client.js";
import type { CommandBody } from "../command.js";
import { exitCodes } from "../failure.js";
import { keepSecret } from "../keep-secret.js";
import { age } from "../output/age.js";
import { printJson, printLines } from "../output/print.js";
import { table } from "../output/table.js";
import type { adminTokenCreateSettings, adminTokenSettings } from "../settings/admin-token-settings.js";

/** `remora admin-token create`. Standard output has the token alone, so that scripts can keep it. */
export const adminTokenCreate: CommandBody<typeof adminTokenCreateSettings> = async (
  settings,
  _operands,
  terminal,
) => {
  const { role, name, ttl, out, output } = settings;
  const client = await openAdminClient(settings, terminal);
  const wish = JSON.stringify({ role, name, ttl: formatDuration(ttl) });
  const reply = (await client.post("/v1/admin-tokens", wish)) as AdminTokenView & { readonly token: string };
  const expires = new Date(reply.expiresAtMs).toISOString();
  if (out !== undefined) await keepSecret(out, reply.token);
  if (output === "json")
    printJson(terminal, {
      ...{ name, role, expires },
      ...(out === undefined ? { token: reply.token } : { file: out }),
    });
  else
    printLines(terminal, [
      out === undefined ? reply.token : `${out}: admin token ${name} of role ${role}, until ${expires}`,
    ]);
  return exitCodes.ok;
};

/** `remora admin-token list` */
export const adminTokenList: CommandBody<typeof adminTokenSettings> = async (
  settings,
  _operands,
  terminal,
) => {
  const client = await openAdminClient(settings, terminal);
  const { tokens } = (await client.get("/v1/admin-tokens")) as { readonly tokens: readonly AdminTokenView[] };
  if (settings.output === "json") {
    printJson(terminal, { tokens });
    return exitCodes.ok;
  }
  const nowMs = terminal.clock.wallMs();
  const rows = tokens.map(({ name, role, createdAtMs, expiresAtMs }) => [
    name,
    role,
    age(nowMs - createdAtMs),
    expiresAtMs > nowMs ? age(expiresAtMs - nowMs) : "expired",
  ]);
  terminal.out(table(["NAME", "ROLE", "AGE", "ENDS IN"], rows));
  return exitCodes.ok;
};

/** `remora admin-token revoke` */
export const adminTokenRevoke: CommandBody<typeof adminTokenSettings> = async (
  settings,
  operands,
  terminal,
) => {
  const [name = ""] = operands;
  const client = await openAdminClient(settings, terminal);
  await client.delete(`/v1/admin-tokens/${encodeURIComponent(name)}`);
  if (settings.output === "json") printJson(terminal, { revoked: name });
  else printLines(terminal, [`admin token ${name} revoked`]);
  return exitCodes.ok;
};
