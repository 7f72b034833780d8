import type { PolicyTestView } from "../../control-plane/admin/policy-routes.js";
import type { CallChange } from "../../control-plane/observation/compare-policies.js";
import type { Judgement } from "../../control-plane/observation/judge-calls.js";
import { openAdminClient } from "../admin-client.js";
import type { CommandBody } from "../command.js";
import { readDocumentFiles } from "../document-files.js";
import { exitCodes } from "../failure.js";
import { age } from "../output/age.js";
import { callerName } from "../output/caller-name.js";
import { printJson, printLines } from "../output/print.js";
import { printable, table } from "../output/table.js";
import type { policyTestSettings } from "../settings/policy-settings.js";

/** `remora policy test`: exit code 1 when something that is let through now would be refused, or may be. */
export const policyTest: CommandBody<typeof policyTestSettings> = async (settings, _operands, terminal) => {
  const { service, namespace, output } = settings;
  const files = await readDocumentFiles(settings.file, terminal);
  const client = await openAdminClient(settings, terminal);
  const at = service === undefined ? "" : `/${encodeURIComponent(namespace)}/${encodeURIComponent(service)}`;
  const text = files.map((file) => file.text).join("\n---\n");
  const headersOf = (name: string) => ({
    "x-file-name": fileNameHeader(name),
    "content-type": "application/yaml",
  });
  // Each by itself first: mistakes are told with the file's own name and lines.
  if (files.length > 1)
    for (const file of files) await client.post("/v1/policy/test", file.text, headersOf(file.name));
  const headers = headersOf(files.length === 1 ? (files[0]?.name ?? "-") : "-");
  const view = (await client.post(`/v1/policy/test${at}`, text, headers)) as PolicyTestView;
  if (output === "json") printJson(terminal, view);
  else {
    if (view.changes.length > 0) terminal.out(changeTable(view, terminal.clock.wallMs()));
    printLines(terminal, summary(view).map(printable));
  }
  return view.breaks ? exitCodes.failed : exitCodes.ok;
};

function changeTable({ changes, trustDomain }: PolicyTestView, nowMs: number): string {
  const rows = changes.map((change) => [
    `${change.service}.${change.namespace}`,
    callerName(change.caller, trustDomain),
    change.protocol === "tcp" ? "tcp" : change.method,
    change.path,
    `${words(change.before)} -> ${words(change.after)}`,
    because(change),
    `${change.count}`,
    age(nowMs - change.lastSeenMs),
  ]);
  return table(["SERVICE", "CALLER", "METHOD", "PATH", "CHANGE", "BY", "CALLS", "LAST SEEN"], rows);
}

function words({ outcome }: Judgement): string {
  switch (outcome) {
    case "allow":
      return "allowed";
    case "audit":
      return "allowed (would be denied)";
    case "deny":
      return "denied";
    case "depends":
      return "may be denied";
  }
}

/** What decides it from now on; of what is let through again, what refused it. */
function because({ before, after }: CallChange): string {
  const rule = after.rule === "" ? `no longer ${before.rule}` : after.rule;
  return after.on === "" ? rule : `${rule}, by ${after.on}`;
}

function summary({ kinds, calls, changes, doubts, breaks }: PolicyTestView): readonly string[] {
  const warnings = doubts.map((doubt) => `warning: ${doubt}`);
  if (changes.length === 0)
    return [...warnings, `nothing changes for ${calls} observed calls of ${kinds} kinds`];
  const verdict = breaks
    ? "calls that are let through now would be denied"
    : "no call that is let through now would be denied";
  return ["", ...warnings, `${changes.length} of ${kinds} kinds of calls change: ${verdict}`];
}

/** RFC 9110 §5.5: a field value is visible ASCII; what else a file is called must not break the request. */
function fileNameHeader(name: string): string {
  return name.replace(/[^\x20-\x7e]/g, "?");
}
