import type { Settings, Values } from "./settings/setting.js";
import type { Terminal } from "./terminal.js";

/** What a command does. @returns the exit code. */
export type CommandBody<S extends Settings> = (
  settings: Values<S>,
  operands: readonly string[],
  terminal: Terminal,
) => Promise<number>;

/** One command as the command line shows it; its body is loaded only when it runs. */
export interface CommandDeclaration {
  /** Words: `ca init`. */
  readonly name: string;
  readonly summary: string;
  readonly settings: Settings;
  readonly operands: readonly Operand[];
  readonly load: () => Promise<CommandBody<Settings>>;
}

export interface Operand {
  /** In commander's form: `<kind>`, `[name]`, `<command...>`. */
  readonly form: string;
  readonly help: string;
  readonly choices?: readonly string[];
}

/** Ties settings and body together: the body gets what the settings read. */
export function command<S extends Settings>(declaration: {
  readonly name: string;
  readonly summary: string;
  readonly settings: S;
  readonly operands?: readonly Operand[];
  readonly load: () => Promise<CommandBody<S>>;
}): CommandDeclaration {
  const load = declaration.load as unknown as CommandDeclaration["load"];
  return { ...declaration, operands: declaration.operands ?? [], load };
}
