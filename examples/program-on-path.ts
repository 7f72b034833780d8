/** Finds a program of others that an example needs: on PATH, else what test/support/install-peers.sh unpacked. */
import { existsSync } from "node:fs";
import path from "node:path";

const unpacked = path.resolve(import.meta.dirname, "../../.cache/peers/bin");

/** @param group what install-peers.sh calls it. */
export function programOnPath(name: string, group: "brokers" | "consul"): string {
  const folders = [...(process.env["PATH"] ?? "").split(":"), unpacked];
  const found = folders.map((folder) => path.join(folder, name)).find((file) => existsSync(file));
  if (found === undefined)
    throw new Error(`no ${name} on PATH: install it, or run test/support/install-peers.sh ${group}`);
  return found;
}
