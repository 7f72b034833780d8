/**
 * `make fuzz`: every reader of bytes from peers, for FUZZ_SECONDS (60) in all, from FUZZ_SEED (told at the start; chance when it is
 * not given), FUZZ_ONLY=name,name for some. With two arguments, a target and a file: runs that one input again.
 */
import { readFileSync } from "node:fs";
import { attempt } from "./fuzz-run.js";
import { watchFuzz } from "./fuzz-watch.js";
import { replayCommand, writeFinding } from "./seed-files.js";
import { fuzzTargets } from "./targets.js";

const [targetName, file] = process.argv.slice(2);
if (targetName !== undefined && file !== undefined) process.exitCode = await replay(targetName, file);
else process.exitCode = await run();

async function run(): Promise<number> {
  const seconds = Number(process.env["FUZZ_SECONDS"] ?? 60);
  const seed = Number(process.env["FUZZ_SEED"] ?? Math.floor(Math.random() * 2 ** 31));
  const only = process.env["FUZZ_ONLY"]?.split(",");
  const names = fuzzTargets.map(({ name }) => name).filter((name) => only?.includes(name) ?? true);
  console.log(`FUZZ_SEED=${seed} FUZZ_SECONDS=${seconds}: ${names.length} targets`);
  let findings = 0;
  await watchFuzz({ names, seed, seconds, runs: Infinity }, (result) => {
    const perSecond = Math.round((result.inputs / Math.max(1, result.tookMs)) * 1000);
    const figures = `${result.inputs} inputs, ${perSecond}/s, ${result.outcomes} outcomes`;
    console.log(`${result.name.padEnd(20)} ${figures}${result.findings.length > 0 ? ", FAILED" : ""}`);
    for (const { input, error } of result.findings) {
      findings++;
      console.log(`  ${error.replaceAll("\n", "\n  ")}`);
      console.log(`  replay: ${replayCommand(result.name, writeFinding(result.name, input, error))}`);
    }
  });
  console.log(`${findings} findings`);
  return findings === 0 ? 0 : 1;
}

async function replay(name: string, path: string): Promise<number> {
  const target = fuzzTargets.find((one) => one.name === name);
  if (target === undefined) {
    console.error(`no such target; there are ${fuzzTargets.map((one) => one.name).join(", ")}`);
    return 2;
  }
  const result = await attempt(target, readFileSync(path));
  console.log(result.error ?? result.outcome);
  return result.error === undefined ? 0 : 1;
}
