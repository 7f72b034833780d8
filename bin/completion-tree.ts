import type { CommandDeclaration } from "./command.js";
import { flagOf } from "./settings/setting.js";

/** A command, or a word on the way to one, as shells complete it. */
export interface CompletionNode {
  /** Words after `remora`; "" for remora itself. */
  readonly path: string;
  readonly words: readonly CompletionWord[];
  readonly flags: readonly CompletionFlag[];
}

export interface CompletionWord {
  readonly word: string;
  readonly help: string;
}

export interface CompletionFlag extends CompletionWord {
  /** `-n`, or "" */
  readonly short: string;
  /** What follows the flag. */
  readonly value: "none" | "file" | "folder" | "any" | readonly string[];
}

/** The commands as a list of nodes, made from the same declarations as the command line itself. */
export function completionTree(commands: readonly CommandDeclaration[]): readonly CompletionNode[] {
  const groups = [
    ...new Set(commands.flatMap(({ name }) => (name.includes(" ") ? [name.split(" ")[0] ?? ""] : []))),
  ];
  return [
    { path: "", words: nextWords(commands, ""), flags: [helpFlag] },
    ...groups.map((group) => ({ path: group, words: nextWords(commands, `${group} `), flags: [helpFlag] })),
    ...commands.map(commandNode),
  ];
}

const helpFlag: CompletionFlag = { word: "--help", short: "-h", help: "show help", value: "none" };

function nextWords(commands: readonly CommandDeclaration[], prefix: string): readonly CompletionWord[] {
  const words = new Map<string, string>();
  for (const { name, summary } of commands) {
    if (!name.startsWith(prefix)) continue;
    const [word = "", ...more] = name.slice(prefix.length).split(" ");
    if (!words.has(word)) words.set(word, more.length > 0 ? `${word} commands` : summary);
  }
  return [...words].map(([word, help]) => ({ word, help }));
}

function commandNode({ name, settings, operands }: CommandDeclaration): CompletionNode {
  const words = operands.flatMap(({ choices = [], help }) => choices.map((word) => ({ word, help })));
  const flags = Object.entries(settings).map(
    ([key, { kind, placeholder, short, help, choices }]): CompletionFlag => {
      const path = placeholder === "FILE" ? "file" : placeholder === "DIR" ? "folder" : "any";
      const value = kind === "switch" ? "none" : choices.length > 0 ? choices : path;
      return { word: flagOf(key), short: short ?? "", help, value };
    },
  );
  return { path: name, words, flags: [...flags, helpFlag] };
}
