/** Runs targets on a thread of its own, so that an input that never ends is seen from outside (test/fuzz/fuzz-watch.ts). */
import { parentPort, workerData } from "node:worker_threads";
import { fuzz } from "./fuzz-run.js";
import { seedsOf } from "./seed-files.js";
import { fuzzTargets } from "./targets.js";
import type { WorkerOrder, WorkerReport } from "./fuzz-watch.js";

const { names, runs, seconds, seed, shared } = workerData as WorkerOrder;
const progress = new Int32Array(shared, 0, 2);
const present = new Uint8Array(shared, 8);

const report = (message: WorkerReport): void => parentPort?.postMessage(message);
const targets = fuzzTargets.filter(({ name }) => names.includes(name));
const weights = targets.reduce((sum, { weight }) => sum + weight, 0);

for (const target of targets) {
  report({ kind: "began", name: target.name });
  const fromMs = performance.now();
  const ms = (seconds * 1000 * target.weight) / weights;
  const budget = { runs: Math.ceil(runs * target.weight), ms, seed };
  const result = await fuzz(target, seedsOf(target), budget, (input) => {
    present.set(input.subarray(0, present.length));
    Atomics.store(progress, 1, Math.min(input.length, present.length));
    Atomics.add(progress, 0, 1);
  });
  report({ kind: "done", name: target.name, tookMs: performance.now() - fromMs, ...result });
}
