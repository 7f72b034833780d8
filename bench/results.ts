import { mkdir, rename, writeFile } from "node:fs/promises";
import path from "node:path";
import type { Report } from "./report.js";
import { reportMarkdown } from "./table.js";

/** Writes `<date>-http1.json`, with every round in it, and `latest.md`. Resolves with both paths. */
export async function writeResults(report: Report, dir: string): Promise<readonly string[]> {
  await mkdir(dir, { recursive: true });
  const json = path.join(dir, `${report.startedAt.slice(0, 10)}-http1.json`);
  const markdown = path.join(dir, "latest.md");
  await replace(json, `${JSON.stringify(report, null, 2)}\n`);
  await replace(markdown, reportMarkdown(report));
  return [json, markdown];
}

/** Never half a file. */
async function replace(file: string, text: string): Promise<void> {
  await writeFile(`${file}.tmp`, text);
  await rename(`${file}.tmp`, file);
}
