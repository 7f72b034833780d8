import { readFileSync } from "node:fs";
import path from "node:path";

/** Version of the package, as `remora version` prints it. */
export const version: string = (
  JSON.parse(readFileSync(path.join(import.meta.dirname, "../../package.json"), "utf8")) as {
    version: string;
  }
).version;
