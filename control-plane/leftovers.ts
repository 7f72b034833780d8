import path from "node:path";
import { removeLeftovers } from "../certs/secret-file.js";
import type { Clock } from "../src/time/clock.js";

/** Where the control plane replaces files of its own; the policy store looks after its own directory. */
const folders = ["", "ca", "ca/next", "consul-ca", "observed"];
const againMs = 120_000;

/**
 * Removes what half-finished writes of a control plane that was killed left in the data folder: it may hold a key.
 * @returns what ends it.
 */
export async function sweepLeftovers(dataDir: string, clock: Clock): Promise<() => void> {
  const sweep = async (): Promise<void> => {
    for (const folder of folders) await removeLeftovers(path.join(dataDir, folder), clock.wallMs());
  };
  await sweep();
  // When a service manager starts it again at once, what is left is too young to be told from what a command is writing.
  const timer = clock.timer(againMs, () => void sweep());
  return () => timer.cancel();
}
