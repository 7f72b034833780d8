import { Command, Option } from "commander";
import { version } from "../src/version.js";
import type { CommandDeclaration } from "./command.js";
import { commands } from "./commands.js";
import { exitCodes, UsageError } from "./failure.js";
import { resolveSettings } from "./settings/resolve.js";
import { environmentOf, flagOf, type Setting } from "./settings/setting.js";
import type { Terminal } from "./terminal.js";

const groups: Readonly<Record<string, string>> = {
  policy: "what policies do, and would do",
  federation: "other meshes whose identities ours believes",
  "admin-token": "who may use the control plane's admin API",
  breaker: "breakers of a sidecar's upstreams",
  ca: "certificate authority",
  cert: "certificates",
  token: "join tokens for new sidecars",
};

/** The tree of commands. `onExit` hears the exit code of the command that ran. */
export function buildProgram(terminal: Terminal, onExit: (code: number) => void): Command {
  const program = new Command("remora");
  program
    .description("A lightweight service mesh: sidecars, control plane and command line.")
    .usage("<command> [options]")
    .version(version, "-V, --version", "show the version")
    .enablePositionalOptions()
    .helpCommand(false)
    .showSuggestionAfterError(true)
    .configureOutput({
      writeOut: (text) => terminal.out(text),
      writeErr: (text) => terminal.error(text),
      // Told by whoever catches the error, in the form of all our errors.
      outputError: () => undefined,
    })
    .addHelpText("after", "\nremora <command> --help shows the flags of a command.");
  refuseByThrowing(program, "");
  for (const declaration of commands) addCommand(program, declaration, terminal, onExit);
  return program;
}

function addCommand(
  program: Command,
  declaration: CommandDeclaration,
  terminal: Terminal,
  onExit: (code: number) => void,
): void {
  const words = declaration.name.split(" ");
  const last = words.pop() ?? "";
  let parent = program;
  for (const word of words) {
    const known = parent.commands.find((command) => command.name() === word);
    parent =
      known ??
      parent
        .command(word)
        .description(groups[word] ?? "")
        .helpCommand(false);
    if (known === undefined) refuseByThrowing(parent, word);
  }
  const command = parent.command(last).description(declaration.summary);
  // What follows the name of a program belongs to that program.
  const takesProgram = declaration.operands.some(({ form }) => form.includes("..."));
  command.passThroughOptions(takesProgram);
  refuseByThrowing(command, declaration.name);
  for (const { form, help } of declaration.operands) command.argument(form, help);
  for (const [key, setting] of Object.entries(declaration.settings))
    command.addOption(optionOf(key, setting));
  command.action(async (...given: unknown[]) => {
    const operands = given
      .slice(0, declaration.operands.length)
      .flat()
      .filter((each) => each !== undefined);
    const settings = await resolveSettings(declaration.settings, {
      flags: flagsOf(command, declaration),
      env: terminal.env,
    });
    const body = await declaration.load();
    onExit(await body(settings, operands as string[], terminal));
  });
}

function optionOf(key: string, setting: Setting<unknown>): Option {
  const { kind, placeholder, help, short, defaultText, isFlagOnly, choices } = setting;
  const flags = [short, flagOf(key)].filter((each) => each !== undefined).join(", ");
  const notes = [
    ...(defaultText === undefined || defaultText === "" ? [] : [`default: ${defaultText}`]),
    ...(isFlagOnly ? [] : [environmentOf(key)]),
  ];
  const text = notes.length === 0 ? help : `${help} (${notes.join("; ")})`;
  const option = new Option(kind === "switch" ? flags : `${flags} <${placeholder}>`, text);
  // Our parser judges the values, whichever place they come from; commander only collects them.
  if (choices.length > 0) option.argChoices = [...choices];
  if (kind === "list")
    option.argParser((value: string, previous: string[] | undefined) => [...(previous ?? []), value]);
  return option;
}

/** The texts of what stands on the command line. */
function flagsOf(command: Command, { settings }: CommandDeclaration): ReadonlyMap<string, readonly string[]> {
  const flags = new Map<string, readonly string[]>();
  for (const [key, setting] of Object.entries(settings)) {
    const option = command.options.find(({ long }) => long === flagOf(key));
    const name = option?.attributeName() ?? key;
    if (command.getOptionValueSource(name) !== "cli") continue;
    const value: unknown = command.getOptionValue(name);
    // A switch is given by being there: commander's value of --no-register is false.
    if (setting.kind === "switch") flags.set(key, ["true"]);
    else flags.set(key, Array.isArray(value) ? value.map(String) : [String(value)]);
  }
  return flags;
}

/** Commander's refusals become errors of ours: `run: unknown option '--prot'; did you mean --port?` */
function refuseByThrowing(command: Command, place: string): void {
  command.exitOverride((error) => {
    // Help was shown: because it was asked for, or because no command was named.
    if (error.exitCode === exitCodes.ok || error.code === "commander.help") throw error;
    const [cause = "", ...rest] = error.message.replace(/^error: /, "").split("\n");
    const suggestion = /\(Did you mean (.*)\?\)/.exec(rest.join(" "))?.[1];
    const fix =
      suggestion === undefined
        ? `see ${["remora", place, "--help"].filter((word) => word !== "").join(" ")}`
        : `did you mean ${suggestion}?`;
    throw new UsageError(place, `${cause}; ${fix}`);
  });
}
