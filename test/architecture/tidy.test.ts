/** The style guide of CONTRIBUTING.md, as far as a machine can judge it, and that the documents name what is there. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import t from "tap";
import ts from "typescript";
import { commands } from "../../bin/commands.js";
import { flagOf } from "../../bin/settings/setting.js";
import { parseDocuments } from "../../control-plane/policy-store/parse-documents.js";

const root = path.resolve(import.meta.dirname, "../../..");
const product = ["src", "control-plane", "certs", "bin"];
const everything = [...product, "examples", "bench", "test"];

const maxFileLines = 400;
/** Names that say nothing: whatever two files share has a concept, and the concept has a name. */
const emptyWords = /^(?:.*-)?(?:utils?|helpers?|common|misc|types?|managers?)$/;
const kebabCase = /^[a-z0-9]+(?:-[a-z0-9]+)*$/;

/** What `make bench` writes: there once it ran. */
const isWritten = (file: string): boolean => file.startsWith(path.join("bench", "results"));

const read = (file: string): string => readFileSync(path.join(root, file), "utf8");

/** Every file below `folder` whose name ends in one of `endings`, as a path from the root. */
function filesIn(folder: string, ...endings: readonly string[]): string[] {
  if (!existsSync(path.join(root, folder))) return [];
  return readdirSync(path.join(root, folder), { recursive: true, encoding: "utf8" })
    .filter((file) => endings.some((ending) => file.endsWith(ending)))
    .map((file) => path.join(folder, file))
    .filter((file) => !file.includes("node_modules"))
    .sort();
}

const codeIn = (folders: readonly string[]): string[] => folders.flatMap((folder) => filesIn(folder, ".ts"));

const documents = [
  ...readdirSync(root).filter((file) => file.endsWith(".md")),
  ...["docs", "examples", "bench"].flatMap((folder) => filesIn(folder, ".md")),
];

t.test(`no file has more than ${maxFileLines} lines`, async (t) => {
  for (const file of codeIn(product)) {
    const lines = read(file).split("\n").length - 1;
    if (lines > maxFileLines) t.fail(`${file}: ${lines} lines; it is two concepts, split it`);
  }
  t.pass("counted");
});

t.test("files and folders have kebab-case names that name a concept", async (t) => {
  const names = new Set(codeIn(everything).flatMap((file) => file.split(path.sep).slice(1)));
  for (const name of names) {
    const stem = name.replace(/(?:\.test|\.d)?\.ts$/, "");
    if (!kebabCase.test(stem)) t.fail(`${name}: not kebab-case`);
    if (emptyWords.test(stem)) t.fail(`${name}: does not say what is inside`);
  }
  t.ok(names.size > 100, "looked at the names");
});

/** Visits every node of a file. */
function walk(file: string, visit: (node: ts.Node, at: string) => void): void {
  const source = ts.createSourceFile(file, read(file), ts.ScriptTarget.Latest);
  const step = (node: ts.Node): void => {
    visit(node, `${file}:${source.getLineAndCharacterOfPosition(node.getStart(source)).line + 1}`);
    ts.forEachChild(node, step);
  };
  step(source);
}

/** Reads the time, waits or draws lots without a Clock. */
function isUnclocked(node: ts.Node): boolean {
  if (ts.isPropertyAccessExpression(node) && ts.isIdentifier(node.expression))
    return /^(?:Date\.now|performance\.now|Math\.random|process\.hrtime)$/.test(
      `${node.expression.text}.${node.name.text}`,
    );
  if (ts.isCallExpression(node) && ts.isIdentifier(node.expression))
    return node.expression.text === "setTimeout" || node.expression.text === "setInterval";
  if (ts.isNewExpression(node) && ts.isIdentifier(node.expression))
    return node.expression.text === "Date" && (node.arguments?.length ?? 0) === 0;
  return (
    ts.isImportDeclaration(node) &&
    ts.isStringLiteral(node.moduleSpecifier) &&
    /^node:timers|^node:perf_hooks$/.test(node.moduleSpecifier.text)
  );
}

function isDefaultExport(node: ts.Node): boolean {
  if (ts.isExportAssignment(node)) return true;
  if (ts.isExportSpecifier(node)) return node.name.text === "default";
  if (!ts.canHaveModifiers(node)) return false;
  return ts.getModifiers(node)?.some(({ kind }) => kind === ts.SyntaxKind.DefaultKeyword) === true;
}

t.test("time and chance come from a Clock", async (t) => {
  for (const file of codeIn(["src", "control-plane", "certs"])) {
    if (file === path.join("src", "time", "clock.ts")) continue;
    walk(file, (node, at) => {
      if (isUnclocked(node)) t.fail(`${at}: take a Clock (src/time/clock.ts)`);
    });
  }
  let found = 0;
  walk(path.join("src", "time", "clock.ts"), (node) => void (found += isUnclocked(node) ? 1 : 0));
  t.ok(found > 0, "the clock itself reads the time");
});

t.test("named exports only, and no any", async (t) => {
  for (const file of codeIn(everything)) {
    if (file.endsWith(".d.ts")) continue; // says what somebody else's package exports
    walk(file, (node, at) => {
      if (isDefaultExport(node)) t.fail(`${at}: a default export has no name to search for`);
      if (node.kind === ts.SyntaxKind.AnyKeyword) t.fail(`${at}: any; decode to unknown, then check`);
    });
  }
  t.pass("walked");
});

t.test("nothing is put off in a comment", async (t) => {
  const putOff = /(?:\/\/|^\s*\*|^\s*#).*\b(?:TODO|FIXME)\b/;
  for (const file of [...everything.flatMap((folder) => filesIn(folder, ".ts", ".sh")), "Makefile"]) {
    for (const [at, line] of read(file).split("\n").entries())
      if (putOff.test(line)) t.fail(`${file}:${at + 1}: do it, or say why it is not done`);
  }
  t.pass("read");
});

/** A document without its code: fenced blocks and `spans`. */
const prose = (text: string): string =>
  text.replace(/^ *```[\s\S]*?^ *```/gm, "").replace(/`[^`\n]*`/g, "code");

/** How GitHub names a heading in links. */
const slug = (heading: string): string =>
  heading
    .toLowerCase()
    .replace(/[^\p{L}\p{N} _-]/gu, "")
    .replaceAll(" ", "-");

function anchorsOf(file: string): Set<string> {
  const headings = read(file)
    .replace(/^ *```[\s\S]*?^ *```/gm, "")
    .matchAll(/^#+ +(.*)$/gm);
  return new Set([...headings].map(([, heading = ""]) => slug(heading)));
}

t.test("links between documents lead somewhere", async (t) => {
  for (const file of documents) {
    for (const [, link = ""] of prose(read(file)).matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^[a-z]+:/.test(link)) continue;
      const [target = "", anchor] = link.split("#", 2);
      const absolute = target === "" ? file : path.join(path.dirname(file), target);
      t.ok(isWritten(absolute) || existsSync(path.join(root, absolute)), `${file}: ${link}`);
      if (anchor !== undefined && absolute.endsWith(".md") && existsSync(path.join(root, absolute)))
        t.ok(anchorsOf(absolute).has(anchor), `${file}: ${link} has that heading`);
    }
  }
});

t.test("ARCHITECTURE.md has every folder of src/ and control-plane/ in its code map", async (t) => {
  const map = read("ARCHITECTURE.md");
  const foldersOf = (folder: string): string[] =>
    readdirSync(path.join(root, folder), { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map(({ name }) => name);
  for (const name of foldersOf("src")) t.ok(map.includes(`| \`src/${name}/\` |`), `src/${name}`);
  for (const name of foldersOf("control-plane")) t.ok(map.includes(`\`${name}/\``), `control-plane/${name}`);
});

t.test("make targets that a document names exist", async (t) => {
  const targets = new Set([...read("Makefile").matchAll(/^([a-z][a-z-]*):/gm)].map(([, name]) => name));
  for (const file of documents)
    for (const [, target = ""] of read(file).matchAll(/(?:`|^ *(?:\$ )?)make ([a-z][a-z-]*)/gm))
      t.ok(targets.has(target), `${file}: make ${target}`);
});

t.test("decision records are numbered, whole and listed", async (t) => {
  const records = filesIn("docs/adr", ".md").map((file) => path.basename(file));
  const index = read("docs/README.md");
  for (const [at, name] of records.entries()) {
    t.equal(name.slice(0, 5), `${String(at + 1).padStart(4, "0")}-`, `${name}: one number each, no gap`);
    const text = read(path.join("docs/adr", name));
    for (const part of ["Status", "Context", "Options", "Decision", "Consequences"])
      t.match(text, new RegExp(`^## ${part}$|^${part}: `, "m"), `${name} has its ${part}`);
    t.ok(text.split("\n").length <= 80, `${name} fits a page`);
    t.ok(index.includes(`adr/${name}`), `docs/README.md lists ${name}`);
  }
});

t.test("every run-time dependency has its line in a decision record", async (t) => {
  const { dependencies } = JSON.parse(read("package.json")) as { dependencies: Record<string, string> };
  const records = filesIn("docs/adr", ".md").map(read).join("\n");
  for (const name of Object.keys(dependencies)) t.ok(records.includes(`\`${name}\``), name);
});

t.test("files that a document names exist", async (t) => {
  const named = new RegExp(`^(?:${[...everything, "docs"].join("|")})/[\\w./*<>-]*$`);
  for (const file of documents) {
    for (const [, span = ""] of read(file).matchAll(/`([^`\n]+)`/g)) {
      // A place for a file that is still to be written, or several files at once.
      if (!named.test(span) || /[<*]/.test(span) || isWritten(span)) continue;
      t.ok(existsSync(path.join(root, span)), `${file}: ${span}`);
    }
  }
});

/** Every call of `remora` in code blocks and `spans`: its words, without what follows `--`. */
function remoraCalls(text: string): string[][] {
  const blocks = [...text.matchAll(/^ *```sh\n([\s\S]*?)^ *```/gm)].map(([, block = ""]) => block);
  const spans = [...text.replace(/^ *```[\s\S]*?^ *```/gm, "").matchAll(/`([^`\n]+)`/g)].map(
    ([, span = ""]) => span,
  );
  return [...blocks.flatMap((block) => block.split("\n")), ...spans]
    .flatMap((line) => line.split(/ #|&&|;|\|/))
    .map((part) => part.trim().split(/\s+/))
    .filter(([program]) => program === "remora")
    .map(([, ...words]) => (words.includes("--") ? words.slice(0, words.indexOf("--")) : words));
}

t.test("commands and flags that a document shows exist", async (t) => {
  for (const file of documents) {
    for (const words of remoraCalls(read(file))) {
      if (/^(?:<.*|--?[a-zA-Z]*)?$/.test(words[0] ?? "")) continue; // `remora`, `remora <command> --help`, `remora --help`
      const line = `remora ${words.join(" ")}`;
      const command = commands.find(({ name }) => name.split(" ").every((word, at) => words[at] === word));
      const group = commands.some(({ name }) => name.startsWith(`${words[0]} `)) && words.length === 1;
      if (group) continue;
      t.ok(command, `${file}: ${line}`);
      const settings = Object.entries(command?.settings ?? {});
      const flags = new Set(["--help", ...settings.flatMap(([key, { short }]) => [flagOf(key), short])]);
      for (const word of words)
        if (/^--?[a-z]/.test(word)) t.ok(flags.has(word.split("=", 1)[0]), `${file}: ${line}: ${word}`);
    }
  }
});

t.test("documents in the quick start are accepted", async (t) => {
  const texts = [...read("README.md").matchAll(/<<'YAML'\n([\s\S]*?)^YAML$/gm)].map(([, text = ""]) => text);
  t.ok(texts.length > 0, "there is one");
  for (const text of texts) t.ok(parseDocuments(text, "README.md").length > 0);
});
