import { CommanderError } from "commander";
import { describeFailure, exitCodes } from "./failure.js";
import { buildProgram } from "./program.js";
import type { Terminal } from "./terminal.js";

/** Runs one command line, without the words `node remora`. @returns the exit code; never rejects. */
export async function main(args: readonly string[], terminal: Terminal): Promise<number> {
  let code: number = exitCodes.ok;
  const program = buildProgram(terminal, (exit) => (code = exit));
  try {
    await program.parseAsync([...args], { from: "user" });
    return code;
  } catch (error: unknown) {
    // Help or version was shown: asked for, or because no command was named.
    if (error instanceof CommanderError) return error.exitCode === 0 ? exitCodes.ok : exitCodes.usage;
    const failure = describeFailure(error, terminal.env);
    for (const line of failure.lines) terminal.error(`${line}\n`);
    return failure.code;
  }
}
