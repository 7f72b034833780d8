import type { PolicyTestRequest, PolicyTestView } from "../../control-plane/admin/policy-routes.js";
import type { CallChange } from "../../control-plane/observation/compare-policies.js";
import type { Judgement } from "../../control-plane/observation/judge-calls.js";
import { openAdminClient } from "../admin-client.js";
import type { CommandBody } from "../command.js";
import { readDocumentFiles, type DocumentFile } from "../document-files.js";
import { CommandError, exitCodes, UsageError } from "../failure.js";
import { age } from "../output/age.js";
import { callerName } from "../output/caller-name.js";
import { printJson, printLines } from "../output/print.js";
import { printable, table } from "../output/table.js";
import type { policyTestSettings } from "../settings/policy-settings.js";

/** `remora policy test`: exit code 1 when something that is let through now would be refused, or may be. */
export const policyTest: CommandBody<typeof policyTestSettings> = async (settings, _operands, terminal) => {
  const { service, namespace, output, file, intentions } = settings;
  const deletions = settings.delete.map((each) => ({ ...each, namespace: each.namespace ?? namespace }));
  if (file.length + deletions.length + intentions.length === 0)
    throw new UsageError(
      "policy test",
      "names no change; give -f FILE, --delete KIND/NAME or --intentions FILE",
    );
  const read = (named: readonly string[]): Promise<readonly DocumentFile[]> =>
    named.length === 0 ? Promise.resolve([]) : readDocumentFiles(named, terminal);
  const files = await read(file);
  const entries = (await read(intentions)).map(entryOf);
  const client = await openAdminClient(settings, terminal);
  const ask = async (at: string, name: string, documents: string): Promise<PolicyTestView> => {
    const body: PolicyTestRequest = { documents, deletions, intentions: entries };
    const headers = { "x-file-name": fileNameHeader(name), "content-type": "application/json" };
    return (await client.post(`/v1/policy/test${at}`, JSON.stringify(body), headers)) as PolicyTestView;
  };
  // Each by itself first: mistakes are told with the file's own name and lines.
  if (files.length > 1) for (const { name, text } of files) await ask("", name, text);
  const at = service === undefined ? "" : `/${encodeURIComponent(namespace)}/${encodeURIComponent(service)}`;
  const text = files.map((one) => one.text).join("\n---\n");
  const view = await ask(at, files.length === 1 ? (files[0]?.name ?? "-") : "-", text);
  if (output === "json") printJson(terminal, view);
  else {
    if (view.changes.length > 0) terminal.out(changeTable(view, terminal.clock.wallMs()));
    printLines(terminal, summary(view).map(printable));
  }
  return view.breaks ? exitCodes.failed : exitCodes.ok;
};

function entryOf({ name, text }: DocumentFile): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch (error: unknown) {
    const fix = "give what consul config read -kind service-intentions -name NAME prints";
    throw new CommandError(`${name}: is not JSON; ${fix}`, { cause: error });
  }
}

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
