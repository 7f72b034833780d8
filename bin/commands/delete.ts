import { AdminError, openAdminClient } from "../admin-client.js";
import type { CommandBody } from "../command.js";
import { readDocumentFiles, type DocumentFile } from "../document-files.js";
import { CommandError, exitCodes, UsageError } from "../failure.js";
import { printJson, printLines } from "../output/print.js";
import type { deleteSettings } from "../settings/client-settings.js";

interface Named {
  readonly kind: string;
  readonly namespace: string;
  readonly name: string;
}

/** `remora delete KIND NAME` or `remora delete -f FILE`; what does not exist is told, the rest is deleted all the same. */
export const deleteDocuments: CommandBody<typeof deleteSettings> = async (settings, operands, terminal) => {
  const [kind, name] = operands;
  const { namespace, file, output } = settings;
  if (file.length > 0 && kind !== undefined)
    throw new UsageError("delete", "names documents twice; give KIND NAME, or -f FILE, and not both");
  if (file.length === 0 && (kind === undefined || name === undefined))
    throw new UsageError("delete", "names no document; give KIND NAME, or -f FILE");
  const files = file.length > 0 ? await readDocumentFiles(file, terminal) : [];
  const wanted =
    files.length > 0 ? await namesIn(files) : [{ kind: kind ?? "", namespace, name: name ?? "" }];
  const client = await openAdminClient(settings, terminal);
  const deleted: unknown[] = [];
  const problems: string[] = [];
  for (const each of wanted) {
    const parts = [each.kind, each.namespace, each.name].map(encodeURIComponent);
    try {
      deleted.push(
        ((await client.delete(`/v1/documents/${parts.join("/")}`)) as { deleted: unknown }).deleted,
      );
    } catch (error: unknown) {
      if (!(error instanceof AdminError)) throw error;
      problems.push(error.message);
    }
  }
  if (output === "json") printJson(terminal, { deleted });
  else {
    const lines = (deleted as readonly Named[]).map(
      (each) => `${each.kind}/${each.namespace}/${each.name} deleted`,
    );
    printLines(terminal, lines);
  }
  if (problems.length > 0) throw new CommandError(problems.join("\n"));
  return exitCodes.ok;
};

/** Kind, namespace and name alone: a document that this version no longer accepts can still be deleted. */
async function namesIn(files: readonly DocumentFile[]): Promise<readonly Named[]> {
  const { parseAllDocuments } = await import("yaml");
  return files.flatMap((file) =>
    [...parseAllDocuments(file.text)].flatMap((document): Named[] => {
      const [error] = document.errors;
      if (error !== undefined)
        throw new CommandError(
          `${file.name}: not YAML: ${error.message.split("\n", 1)[0]}; correct the file`,
        );
      if (document.contents === null) return [];
      const text = (path: readonly string[]): string | undefined => {
        const value: unknown = document.getIn(path);
        return typeof value === "string" ? value : undefined;
      };
      const kind = text(["kind"]);
      const name = text(["metadata", "name"]);
      if (kind === undefined || name === undefined)
        throw new CommandError(`${file.name}: a document without kind and metadata.name; correct the file`);
      return [{ kind, namespace: text(["metadata", "namespace"]) ?? "default", name }];
    }),
  );
}
