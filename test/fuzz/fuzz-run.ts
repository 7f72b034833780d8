/** The loop: takes an input, changes it, runs it, and keeps what did something new. */
import { seeded } from "../support/seeded-random.js";
import type { FuzzTarget } from "./fuzz-target.js";
import { mutate } from "./mutation.js";

export interface FuzzBudget {
  /** Until so many inputs were run, the seeds not counted, ... */
  readonly runs: number;
  /** ... or so much time has passed. */
  readonly ms: number;
  readonly seed: number;
}

/** An input that broke a promise. */
export interface Finding {
  readonly input: Buffer;
  readonly error: string;
}

export interface FuzzResult {
  readonly inputs: number;
  /** Outcomes that were seen, the seeds' included. */
  readonly outcomes: number;
  readonly findings: readonly Finding[];
}

/** What else tells of an input: told before it is run. */
export type InputWatch = (input: Buffer) => void;

/** An input may take this long; far above what a slow machine needs. */
const slowMs = 2000;
/** One defect is mostly found in many ways. */
const maxFindings = 3;
/** Inputs worth mutating; further ones take the place of old ones. */
const maxCorpus = 4000;

/** Runs the seeds of a target, then mutations of them and of what they led to. */
export async function fuzz(
  target: FuzzTarget,
  seeds: readonly Buffer[],
  budget: FuzzBudget,
  watch: InputWatch,
): Promise<FuzzResult> {
  const random = seeded(budget.seed);
  const corpus: Buffer[] = [];
  const outcomes = new Set<string>();
  const findings: Finding[] = [];
  let inputs = 0;
  const run = async (input: Buffer): Promise<void> => {
    inputs++;
    watch(input);
    const result = await attempt(target, input);
    if (result.error !== undefined) {
      if (!findings.some(({ error }) => sameDefect(error, result.error)))
        findings.push({ input: await shortened(target, input, result.error, watch), error: result.error });
      return;
    }
    if (outcomes.has(result.outcome)) return;
    outcomes.add(result.outcome);
    if (corpus.length < maxCorpus) corpus.push(input);
    else corpus[Math.floor(random() * maxCorpus)] = input;
  };
  for (const input of seeds) await run(input);
  if (corpus.length === 0) corpus.push(Buffer.alloc(0));
  const pick = (): Buffer => corpus[Math.floor(random() * corpus.length)] as Buffer;
  const untilMs = performance.now() + budget.ms;
  const mutator = { random, words: target.words, maxBytes: target.maxBytes };
  for (let left = budget.runs; left > 0 && findings.length < maxFindings; left--) {
    if (performance.now() > untilMs) break;
    const keepsForm = target.mutate !== undefined && random() < 0.7;
    await run(keepsForm ? target.mutate(pick(), random) : mutate(pick(), pick(), mutator));
  }
  return { inputs, outcomes: outcomes.size, findings };
}

type Attempt = { readonly outcome: string; readonly error?: undefined } | { readonly error: string };

/** Runs one input; whatever it throws, rejects or leaves to the process is its error. */
export async function attempt(target: FuzzTarget, input: Buffer): Promise<Attempt> {
  let stray: unknown;
  const onStray = (error: unknown): void => void (stray ??= error ?? new Error("nothing was thrown"));
  process.on("uncaughtException", onStray);
  process.on("unhandledRejection", onStray);
  const fromMs = performance.now();
  try {
    const result = target.run(Buffer.from(input));
    const outcome = typeof result === "string" ? result : await result;
    const tookMs = performance.now() - fromMs;
    if (stray !== undefined) return { error: describe(stray) };
    if (tookMs > slowMs && takesLong(target, input)) return { error: `took ${Math.round(tookMs)} ms` };
    return { outcome };
  } catch (error: unknown) {
    return { error: describe(stray ?? error) };
  } finally {
    process.off("uncaughtException", onStray);
    process.off("unhandledRejection", onStray);
  }
}

/** Once more: the machine may have been busy with something else. */
function takesLong(target: FuzzTarget, input: Buffer): boolean {
  const fromMs = performance.now();
  const result = target.run(Buffer.from(input));
  if (typeof result !== "string") result.catch(() => undefined);
  return performance.now() - fromMs > slowMs;
}

function describe(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}

/** Where it was thrown and the first words of what it says. */
function sameDefect(one: string, other: string): boolean {
  const key = (text: string): string => text.slice(0, 60).replace(/\d+/g, "N");
  return key(one) === key(other);
}

/** Leaves out what the finding does not need, in ever smaller pieces. */
async function shortened(
  target: FuzzTarget,
  input: Buffer,
  error: string,
  watch: InputWatch,
): Promise<Buffer> {
  let shortest = input;
  let tries = 300;
  for (let size = input.length >> 1; size > 0; size >>= 1) {
    for (let at = 0; at < shortest.length && tries > 0;) {
      const shorter = Buffer.concat([shortest.subarray(0, at), shortest.subarray(at + size)]);
      tries--;
      watch(shorter);
      const result = await attempt(target, shorter);
      if (result.error !== undefined && sameDefect(result.error, error)) shortest = shorter;
      else at += size;
    }
  }
  return shortest;
}
