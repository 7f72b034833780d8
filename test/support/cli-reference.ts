/**
 * The reference part of docs/cli.md, made from the declarations of the commands. Run as a program it brings the file up
 * to date; test/docs/cli.test.ts compares.
 */
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";
import type { CommandDeclaration } from "../../bin/command.js";
import { commands } from "../../bin/commands.js";
import { environmentOf, flagOf } from "../../bin/settings/setting.js";

/** docs/cli.md */
export const referenceFile = path.resolve(import.meta.dirname, "../../../docs/cli.md");

const start = "<!-- reference: made by test/support/cli-reference.ts -->\n";
const end = "<!-- end of reference -->\n";

/** `text` with its reference brought up to date. */
export function withReference(text: string): string {
  const from = text.indexOf(start);
  const to = text.indexOf(end);
  if (from === -1 || to < from) throw new Error(`${referenceFile} has lost the marks around its reference`);
  return `${text.slice(0, from + start.length)}\n${commands.map(section).join("\n")}\n${text.slice(to)}`;
}

function section({ name, summary, operands, settings }: CommandDeclaration): string {
  const entries = Object.entries(settings);
  const words = operands.map(({ form }) => (form.includes("...") ? `-- ${form}` : form));
  const usage = ["remora", name, ...(entries.length > 0 ? ["[flags]"] : []), ...words].join(" ");
  const head = `### remora ${name}\n\n\`${usage}\`: ${summary}.\n`;
  if (entries.length === 0) return head;
  const rows = entries.map(([key, { kind, placeholder, short, isFlagOnly, defaultText, help }]) => {
    const flag = `\`${[short, flagOf(key)].filter((each) => each !== undefined).join("`, `")}${placeholder === "" ? "" : ` ${placeholder}`}\``;
    const several = kind === "list" ? " (several times)" : "";
    const cells = [
      flag,
      isFlagOnly ? "-" : `\`${environmentOf(key)}\``,
      isFlagOnly || key === "config" ? "-" : `\`${key}\``,
      defaultCell(defaultText),
      `${help}${several}`,
    ];
    return `| ${cells.join(" | ")} |\n`;
  });
  return `${head}\n| flag | environment | file key | default | meaning |\n|---|---|---|---|---|\n${rows.join("")}`;
}

function defaultCell(text = ""): string {
  if (text === "") return "-";
  return text === "-" ? "`-`" : text.replace(/[<>]/g, "\\$&");
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href)
  writeFileSync(referenceFile, withReference(readFileSync(referenceFile, "utf8")));
