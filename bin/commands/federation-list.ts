import type { RelationshipView } from "../../control-plane/federation/federation.js";
import { openAdminClient } from "../admin-client.js";
import type { CommandBody } from "../command.js";
import { exitCodes } from "../failure.js";
import { age } from "../output/age.js";
import { printJson } from "../output/print.js";
import { table } from "../output/table.js";
import type { federationListSettings } from "../settings/federation-settings.js";

/** `remora federation list` */
export const federationList: CommandBody<typeof federationListSettings> = async (
  settings,
  _operands,
  terminal,
) => {
  const client = await openAdminClient(settings, terminal);
  const { relationships } = (await client.get("/v1/federation")) as {
    readonly relationships: readonly RelationshipView[];
  };
  if (settings.output === "json") {
    printJson(terminal, { relationships });
    return exitCodes.ok;
  }
  const nowMs = terminal.clock.wallMs();
  const rows = relationships.map(({ trustDomain, endpoint, sequence, fetchedAtMs, error }) => [
    trustDomain,
    endpoint,
    sequence === undefined ? "" : String(sequence),
    fetchedAtMs === undefined ? "" : `${age(nowMs - fetchedAtMs)} ago`,
    error ?? "",
  ]);
  terminal.out(table(["TRUST DOMAIN", "ENDPOINT", "SEQUENCE", "FETCHED", "PROBLEM"], rows));
  return exitCodes.ok;
};
