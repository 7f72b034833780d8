/** Where inputs come from and where findings go. */
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { decodeProbe, type ProbeCase } from "../support/http11probe.js";
import type { FuzzTarget } from "./fuzz-target.js";
import { hashOf } from "./fuzz-target.js";

const root = path.resolve(import.meta.dirname, "../../..");
const seedsFolder = path.join(root, "test/fuzz/seeds");
const findingsFolder = path.join(root, ".cache/fuzz");
/** Public test data beside the repository; read where it is there. */
const corporaFolder = process.env["REMORA_CORPORA"] ?? path.join(root, "../shared/corpora");

/** The files of a target's folder, what the target brings itself, and public corpora where they are there. */
export function seedsOf(target: FuzzTarget): Buffer[] {
  const folder = path.join(seedsFolder, target.name);
  const files = existsSync(folder) ? readdirSync(folder).sort() : [];
  return [
    ...files.map((file) => readFileSync(path.join(folder, file))),
    ...(target.seeds?.() ?? []),
    ...publicSeeds(target.name),
  ];
}

function publicSeeds(name: string): Buffer[] {
  const kind = /^http1-(request|response)$/.exec(name)?.[1];
  if (kind === undefined || !existsSync(corporaFolder)) return [];
  const load = (file: string): unknown => JSON.parse(readFileSync(path.join(corporaFolder, file), "utf8"));
  const cases = load("llhttp.json") as { readonly kind: string; readonly http: string }[];
  const probes = kind === "request" ? (load("http11probe.json") as ProbeCase[]) : [];
  return [
    ...cases
      .filter((one) => one.kind === kind)
      .map(({ http }) => Buffer.from(http.replace(/\\\n/g, "").replace(/\n/g, "\r\n"), "latin1")),
    ...probes.map(({ payload }) => decodeProbe(payload)),
  ];
}

/** Keeps an input that broke a promise; gives its path. */
export function writeFinding(name: string, input: Buffer, error: string): string {
  const folder = path.join(findingsFolder, name);
  mkdirSync(folder, { recursive: true });
  const file = path.join(folder, hashOf(input).toString(16).padStart(8, "0"));
  writeFileSync(file, input);
  writeFileSync(`${file}.txt`, `${error}\n\n${replayCommand(name, file)}\n`);
  return path.relative(root, file);
}

/** How to run one input again. */
export function replayCommand(name: string, file: string): string {
  return `node dist/test/fuzz/fuzz.js ${name} ${path.relative(root, path.resolve(file))}`;
}
