/** docs/security.md names the tests that prove its promises: each of them is there under that name. */
import { readFileSync } from "node:fs";
import path from "node:path";
import t from "tap";

const root = path.resolve(import.meta.dirname, "../../..");
const text = readFileSync(path.join(root, "docs/security.md"), "utf8");

t.test("docs/security.md: every proof is a test of that name", async (t) => {
  const rows = [...text.matchAll(/^\|[^|]*\| `([^`]+)` \| (test\/\S+\.test\.ts) \|$/gm)];
  t.ok(rows.length > 30, `${rows.length} rows`);
  for (const [, name = "", file = ""] of rows) {
    const source = readFileSync(path.join(root, file), "utf8");
    t.ok(new RegExp(`\\.test\\(\\s*["\`]${escaped(name)}["\`]`).test(source), `${file}: ${name}`);
  }
});

function escaped(name: string): string {
  return name.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&");
}
