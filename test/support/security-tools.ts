/** Programs that look at the mesh from outside: testssl.sh, faketime, and Java's keytool. */
import { spawnSync } from "node:child_process";
import { program } from "./brokers.js";

export type SecurityTool = "faketime" | "testssl" | "keytool";

/** tap's `skip` option: false when all are there, else the reason. With CI=true it never skips. */
export function skipWithout(...tools: readonly SecurityTool[]): string | false {
  const missing = tools.filter((tool) => !works(tool));
  if (missing.length === 0 || process.env["CI"] === "true") return false;
  return `no ${missing.join(", ")}: run test/support/install-peers.sh security and java, or put them on PATH`;
}

/** Its path; its name when it is not there, so that a test which must not skip fails with the system's words. */
export function tool(name: SecurityTool): string {
  return program(name) ?? name;
}

function works(name: SecurityTool): boolean {
  const found = program(name);
  if (found === undefined) return false;
  return (
    name === "testssl" || spawnSync(found, name === "faketime" ? ["+1h", "true"] : ["-help"]).status === 0
  );
}
