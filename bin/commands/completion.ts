import type { CommandBody, CommandDeclaration } from "../command.js";
import { bashCompletion, fishCompletion, zshCompletion } from "../completion-scripts.js";
import { completionTree } from "../completion-tree.js";
import { exitCodes, UsageError } from "../failure.js";
import { oneOf } from "../settings/parsers.js";
import type { Settings } from "../settings/setting.js";

const scripts = { bash: bashCompletion, zsh: zshCompletion, fish: fishCompletion };

/** `remora completion`, for the commands that there are. */
export function completion(commands: readonly CommandDeclaration[]): CommandBody<Settings> {
  return async (_settings, [shell = ""], terminal) => {
    terminal.out(scripts[readShell(shell)](completionTree(commands)));
    return exitCodes.ok;
  };
}

function readShell(text: string): keyof typeof scripts {
  try {
    return oneOf("bash", "zsh", "fish")(text);
  } catch (error: unknown) {
    throw new UsageError("completion", (error as Error).message, { cause: error });
  }
}
