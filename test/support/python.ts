import { spawnSync } from "node:child_process";
import path from "node:path";

/** Python's modules of the tests, by the names they are imported by. */
export type PythonModule = "grpc" | "websockets" | "h2";

const unpacked = path.resolve(import.meta.dirname, "../../../.cache/peers/bin/python3");
const system = "/usr/bin/python3";

/**
 * The Python that has these modules: Debian's own, whatever else is on PATH, then what install-peers.sh unpacked; Debian's
 * own too when neither has, so that a test which must not skip fails with Python's words.
 */
export function pythonWith(...modules: readonly PythonModule[]): string {
  return find(modules) ?? system;
}

/** tap's `skip` option: false when there is such a Python, else the reason. With CI=true it never skips. */
export function skipWithoutPython(...modules: readonly PythonModule[]): string | false {
  if (process.env["CI"] === "true" || find(modules) !== undefined) return false;
  return `no python3 with ${modules.join(", ")}: run test/support/install-peers.sh clients`;
}

function find(modules: readonly PythonModule[]): string | undefined {
  const script = `import ${modules.join(", ")}`;
  return [system, unpacked].find((python) => {
    return spawnSync(python, ["-c", script], { stdio: "ignore" }).status === 0;
  });
}
