import type { Terminal } from "../terminal.js";

/** Prints `value` as JSON, indented, for programs and for eyes. */
export function printJson(terminal: Pick<Terminal, "out">, value: unknown): void {
  terminal.out(`${JSON.stringify(value, null, 2)}\n`);
}

/** Prints lines of text, each ended. */
export function printLines(terminal: Pick<Terminal, "out">, lines: readonly string[]): void {
  terminal.out(lines.map((line) => `${line}\n`).join(""));
}
