import type { DocumentView } from "../../control-plane/admin/views.js";
import { openAdminClient } from "../admin-client.js";
import type { CommandBody } from "../command.js";
import { exitCodes } from "../failure.js";
import { age } from "../output/age.js";
import { printJson } from "../output/print.js";
import { table } from "../output/table.js";
import type { getSettings } from "../settings/client-settings.js";

/** `remora get` */
export const get: CommandBody<typeof getSettings> = async (settings, operands, terminal) => {
  const [kind = "", name] = operands;
  const namespace = settings.namespace ?? (name === undefined ? undefined : "default");
  const client = await openAdminClient(settings, terminal);
  const at = ["/v1/documents", kind, namespace, name].filter((part) => part !== undefined);
  const [base = "", ...parts] = at;
  const reply = await client.get([base, ...parts.map(encodeURIComponent)].join("/"));
  const { documents } = reply as { readonly documents: readonly DocumentView[] };
  if (settings.output === "json") printJson(terminal, name === undefined ? documents : documents[0]);
  else if (settings.output === "yaml") terminal.out(documents.map(({ yaml }) => ended(yaml)).join("---\n"));
  else terminal.out(documentTable(documents, terminal.clock.wallMs()));
  return exitCodes.ok;
};

function documentTable(documents: readonly DocumentView[], nowMs: number): string {
  const rows = documents.map((document) => {
    const state = (type: string) =>
      document.conditions.find((each) => each.type === type)?.status ?? "Unknown";
    return [
      document.kind,
      document.namespace,
      document.name,
      state("Accepted"),
      state("ResolvedRefs"),
      age(nowMs - document.createdAtMs),
      document.conditions.find(isBad)?.message ?? "",
    ];
  });
  return table(["KIND", "NAMESPACE", "NAME", "ACCEPTED", "RESOLVED", "AGE", "MESSAGE"], rows);
}

/** PartiallyInvalid is the one condition that is bad when true (Gateway API). */
function isBad({ type, status }: DocumentView["conditions"][number]): boolean {
  return (type === "PartiallyInvalid") === (status === "True");
}

function ended(text: string): string {
  return text.endsWith("\n") ? text : `${text}\n`;
}
