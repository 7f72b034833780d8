/** Starts a fuzzing thread and watches it: an input that never ends, or takes all memory, is a finding like any other. */
import path from "node:path";
import { Worker } from "node:worker_threads";
import type { Finding, FuzzResult } from "./fuzz-run.js";

export interface FuzzOrder {
  readonly names: readonly string[];
  /** Inputs for a target of weight 1. */
  readonly runs: number;
  /** For all targets together. */
  readonly seconds: number;
  readonly seed: number;
}

/** What the thread is given. `shared`: inputs begun, length of the present one (Int32 each), its bytes. */
export interface WorkerOrder extends FuzzOrder {
  readonly shared: SharedArrayBuffer;
}

export type WorkerReport =
  | { readonly kind: "began"; readonly name: string }
  | ({ readonly kind: "done"; readonly name: string; readonly tookMs: number } & FuzzResult);

export interface TargetResult extends FuzzResult {
  readonly name: string;
  readonly tookMs: number;
}

/** An input that takes this long will not end: no machine is that slow. */
const hangMs = 20_000;
const lookMs = 500;
const maxInputBytes = 1024 * 1024;
const maxHeapMb = 1024;

/** Fuzzes the named targets one after the other; `onResult` is told of each. */
export async function watchFuzz(
  order: FuzzOrder,
  onResult: (result: TargetResult) => void = () => {},
): Promise<readonly TargetResult[]> {
  const shared = new SharedArrayBuffer(8 + maxInputBytes);
  const progress = new Int32Array(shared, 0, 2);
  const results: TargetResult[] = [];
  let name = "";
  let [seen, seenAtMs] = [0, performance.now()];
  const take = (result: TargetResult): void => {
    results.push(result);
    onResult(result);
  };
  const lost = (error: string): void => {
    const input = Buffer.from(new Uint8Array(shared, 8, Atomics.load(progress, 1)));
    const findings: Finding[] = [{ input, error }];
    take({ name, inputs: Atomics.load(progress, 0), outcomes: 0, tookMs: 0, findings });
  };
  const data: WorkerOrder = { ...order, shared };
  const worker = new Worker(path.join(import.meta.dirname, "fuzz-worker.js"), {
    workerData: data,
    resourceLimits: { maxOldGenerationSizeMb: maxHeapMb },
  });
  const timer = setInterval(() => {
    const now = Atomics.load(progress, 0);
    if (now !== seen) [seen, seenAtMs] = [now, performance.now()];
    if (name === "" || performance.now() - seenAtMs < hangMs) return;
    clearInterval(timer);
    lost(`did not end within ${hangMs} ms`);
    void worker.terminate();
  }, lookMs);
  worker.on("message", (report: WorkerReport) => {
    [name, seenAtMs] = [report.name, performance.now()];
    if (report.kind !== "done") return;
    const findings = report.findings.map(({ input, error }) => ({ input: Buffer.from(input), error }));
    take({ ...report, findings });
  });
  return new Promise((resolve) => {
    worker.on("error", (error) => lost(error.stack ?? error.message));
    worker.on("exit", () => {
      clearInterval(timer);
      resolve(results);
    });
  });
}
