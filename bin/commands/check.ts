import { setTimeout } from "node:timers/promises";
import { inspectCertificates } from "../../certs/inspect.js";
import type { ServedCertificatesView } from "../../control-plane/admin/served-certificates.js";
import type { DocumentView } from "../../control-plane/admin/views.js";
import { version } from "../../src/version.js";
import { openAdminClient, type AdminClient } from "../admin-client.js";
import type { CheckLine } from "../check-line.js";
import { checkMesh, checkUnreachable, isPassed, type CheckSection } from "../check-lines.js";
import type { CommandBody } from "../command.js";
import { CommandError, exitCodes } from "../failure.js";
import { readMesh } from "../mesh-report.js";
import { paintFor } from "../output/paint.js";
import { printJson, printLines } from "../output/print.js";
import { printable } from "../output/table.js";
import type { checkSettings } from "../settings/client-settings.js";
import type { Values } from "../settings/setting.js";
import type { Terminal } from "../terminal.js";

type CheckSettings = Values<typeof checkSettings>;

const againMs = 250;

/** `remora check`: exit code 1 when a check fails. */
export const check: CommandBody<typeof checkSettings> = async (settings, _operands, terminal) => {
  const { clock } = terminal;
  const untilMs = clock.monotonicMs() + settings.wait;
  let sections = await look(settings, terminal);
  while (!isPassed(sections) && clock.monotonicMs() < untilMs) {
    await setTimeout(againMs);
    sections = await look(settings, terminal);
  }
  const passed = isPassed(sections);
  if (settings.output === "json") printJson(terminal, { passed, sections });
  else printSections(terminal, sections, passed);
  return passed ? exitCodes.ok : exitCodes.failed;
};

async function look(settings: CheckSettings, terminal: Terminal): Promise<readonly CheckSection[]> {
  try {
    const client = await openAdminClient(settings, terminal);
    const [mesh, bundlePem, { documents }, served] = await Promise.all([
      readMesh(client),
      client.getText("/v1/bundle"),
      client.get("/v1/documents") as Promise<{ readonly documents: readonly DocumentView[] }>,
      servedCertificates(client),
    ]);
    const nowMs = terminal.clock.wallMs();
    const roots = inspectCertificates(bundlePem, nowMs);
    return checkMesh({ ...mesh, url: client.url, roots, served, documents, version, nowMs });
  } catch (error: unknown) {
    if (error instanceof CommandError) return checkUnreachable(error.message);
    throw error;
  }
}

/** undefined when the control plane is too old to know. */
async function servedCertificates(client: AdminClient): Promise<ServedCertificatesView | undefined> {
  try {
    return (await client.get("/v1/served-certificates")) as ServedCertificatesView;
  } catch (error: unknown) {
    if (error instanceof CommandError) return undefined;
    throw error;
  }
}

/** As `linkerd check` prints: sections underlined, a mark before each line, a verdict at the end. */
function printSections(terminal: Terminal, sections: readonly CheckSection[], passed: boolean): void {
  const paint = paintFor(terminal);
  const marks = { ok: paint.ok, warning: paint.warning, failed: paint.failed };
  const lineOf = ({ state, text, fix }: CheckLine): readonly string[] => [
    `${marks[state]} ${printable(text)}`,
    ...(fix === undefined ? [] : [`    -> ${printable(fix)}`]),
  ];
  for (const { title, lines } of sections)
    printLines(terminal, [title, "-".repeat(title.length), ...lines.flatMap(lineOf), ""]);
  printLines(terminal, [`status check results are ${passed ? paint.ok : paint.failed}`]);
}
