import { messageOf } from "../src/errors/message-of.js";
import { ConfigError } from "../src/errors/config-error.js";

/** The command line, the environment or the settings file is wrong: exit code 2. */
export class UsageError extends Error {
  override readonly name = "UsageError";

  /** @param place the flag, variable, `file:line:col` or command; "" for none. @param message cause; fix */
  constructor(place: string, message: string, options?: ErrorOptions) {
    super(place === "" ? message : `${place}: ${message}`, options);
  }
}

/** What a command could not do, in a line of its own: exit code 1. */
export class CommandError extends Error {
  override readonly name = "CommandError";
}

/** Exit codes of every command. */
export const exitCodes = { ok: 0, failed: 1, usage: 2 } as const;

/** What is told of an error, and the exit code that goes with it. */
export interface Failure {
  readonly lines: readonly string[];
  readonly code: number;
}

/** One line per mistake, `remora: <place>: <cause>; <fix>`; a stack only with REMORA_DEBUG=1. */
export function describeFailure(error: unknown, env: NodeJS.ProcessEnv): Failure {
  const isDebug = env["REMORA_DEBUG"] === "1";
  const isExpected =
    error instanceof UsageError || error instanceof CommandError || error instanceof ConfigError;
  const message = messageOf(error);
  const text = isExpected
    ? message
    : `internal error: ${message}; set REMORA_DEBUG=1 to see where, and report it`;
  const lines = text.split("\n").map((line) => `remora: ${line}`);
  if (isDebug && error instanceof Error) lines.push(error.stack ?? "");
  return { lines, code: error instanceof UsageError ? exitCodes.usage : exitCodes.failed };
}
