import { mkdir, rename, writeFile } from "node:fs/promises";
import path from "node:path";
import type { Report } from "./report.js";
import { reportMarkdown } from "./table.js";

/**
 * Writes `<date>-<suites>.json`, with every single measurement in it, and `latest.md`. Resolves with both paths.
 *
 * @param isAll every suite took part: the file is then `<date>-all.json`.
 */
export async function writeResults(report: Report, dir: string, isAll: boolean): Promise<readonly string[]> {
  await mkdir(dir, { recursive: true });
  const name = isAll ? "all" : report.suites.map((suite) => suite.name).join("-");
  const json = path.join(dir, `${report.startedAt.slice(0, 10)}-${name}.json`);
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
