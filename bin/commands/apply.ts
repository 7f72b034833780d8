import { openAdminClient } from "../admin-client.js";
import type { CommandBody } from "../command.js";
import { readDocumentFiles } from "../document-files.js";
import { exitCodes } from "../failure.js";
import { printJson, printLines } from "../output/print.js";
import { printable } from "../output/table.js";
import type { applySettings } from "../settings/client-settings.js";

/** What the control plane says of each applied document. */
interface ApplyReply {
  readonly results: readonly {
    readonly kind: string;
    readonly namespace: string;
    readonly name: string;
    readonly action: string;
    /** What works otherwise than it seems to, or not yet. */
    readonly warnings: readonly string[];
  }[];
}

/** `remora apply`: of several files all are tried before the first is applied. */
export const apply: CommandBody<typeof applySettings> = async (settings, _operands, terminal) => {
  const { dryRun, output } = settings;
  const files = await readDocumentFiles(settings.file, terminal);
  const client = await openAdminClient(settings, terminal);
  const send = async (file: { readonly name: string; readonly text: string }, isTrial: boolean) => {
    const headers = { "x-file-name": fileNameHeader(file.name), "content-type": "application/yaml" };
    const reply = await client.post(`/v1/documents?dryRun=${isTrial}`, file.text, headers);
    return (reply as ApplyReply).results;
  };
  const sendAll = async (isTrial: boolean) => {
    const results = [];
    for (const file of files) results.push(...(await send(file, isTrial)));
    return results;
  };
  if (files.length > 1 && !dryRun) await sendAll(true);
  let results = await sendAll(dryRun);
  if (files.length > 1 && !dryRun) {
    // What one file lacks may stand in a later one: what is said of them is asked for when all are there.
    const told = await sendAll(true);
    results = results.map((result, at) => ({ ...result, warnings: told[at]?.warnings ?? [] }));
  }
  if (output === "json") printJson(terminal, { dryRun, results });
  else {
    const note = dryRun ? " (dry run)" : "";
    const lines = results.map(
      ({ kind, namespace, name, action }) => `${kind}/${namespace}/${name} ${action}${note}`,
    );
    printLines(terminal, lines.length === 0 ? ["no documents in the files"] : lines);
    // Beside the output: programs that read it go on reading what they expect.
    for (const { kind, namespace, name, warnings } of results)
      for (const warning of warnings)
        terminal.error(`remora: warning: ${kind}/${namespace}/${name}: ${printable(warning)}\n`);
  }
  return exitCodes.ok;
};

/** RFC 9110 §5.5: a field value is visible ASCII; what else a file is called must not break the request. */
function fileNameHeader(name: string): string {
  return name.replace(/[^\x20-\x7e]/g, "?");
}
