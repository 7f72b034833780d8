import path from "node:path";
import type { Terminal } from "./terminal.js";

/** The control plane's folder when none is given. */
export function defaultDataDir({ homeDir }: Pick<Terminal, "homeDir">): string {
  return path.join(homeDir, ".remora", "control-plane");
}

/** The CA's folder when none is given: that of the control plane, wherever that is. */
export function defaultCaDir(terminal: Pick<Terminal, "homeDir" | "env">): string {
  return path.join(terminal.env["REMORA_DATA_DIR"] || defaultDataDir(terminal), "ca");
}

/** A sidecar's state folder when none is given: two instances on one machine differ in their port. */
export function defaultStateDir(
  instance: { readonly service: string; readonly namespace: string; readonly port: number },
  { homeDir }: Pick<Terminal, "homeDir">,
): string {
  return path.join(homeDir, ".remora", `${instance.service}.${instance.namespace}-${instance.port}`);
}
