/** Whoever copies a document from a page of docs/ has one that is accepted. */
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import t from "tap";
import { parseDocuments } from "../../control-plane/policy-store/parse-documents.js";

const folder = path.resolve(import.meta.dirname, "../../../docs");

/** Whole documents: parts of one begin with `spec:` or with a field of it. */
function documentsOf(page: string): readonly string[] {
  const text = readFileSync(path.join(folder, page), "utf8");
  const blocks = [...text.matchAll(/^```yaml\n(.*?)^```$/gms)].map(([, block = ""]) => block);
  return blocks.filter((block) => block.startsWith("apiVersion:"));
}

t.test("every document of docs/ is accepted", async (t) => {
  const pages = readdirSync(folder).filter((file) => file.endsWith(".md"));
  let count = 0;
  for (const page of pages)
    for (const document of documentsOf(page)) {
      count += parseDocuments(document, `docs/${page}`).length;
    }
  t.ok(count >= 30, `${count} documents`);
});
