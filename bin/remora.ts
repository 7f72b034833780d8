#!/usr/bin/env node
/** The `remora` command. */
import { main } from "./main.js";
import { processTerminal } from "./terminal.js";

// Whoever reads our output may stop reading (`remora get | head -1`); a sidecar must outlive its access log's reader too.
for (const stream of [process.stdout, process.stderr])
  stream.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code !== "EPIPE") throw error;
  });
const code = await main(process.argv.slice(2), processTerminal());
// A handle that somebody left open must not keep the process; but what was printed has to be out first.
process.stdout.write("", () => process.exit(code));
