import { spawn } from "node:child_process";
import { once } from "node:events";

/** What an empty node process takes where nothing else runs. */
const calmMs = 60;

/**
 * How many times slower processes start here and now than on a calm machine; at least 1. For promises in seconds that
 * hold for a machine with nothing else to do.
 */
export async function machinePace(): Promise<number> {
  const took: number[] = [];
  for (let n = 0; n < 5; n++) {
    const startMs = performance.now();
    await once(spawn(process.execPath, ["--eval", "0"], { stdio: "ignore" }), "exit");
    took.push(performance.now() - startMs);
  }
  return Math.max(1, Math.max(...took) / calmMs);
}
