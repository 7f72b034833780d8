import type { CompletionFlag, CompletionNode } from "./completion-tree.js";

/** Completion for bash: `source <(remora completion bash)`. */
export function bashCompletion(nodes: readonly CompletionNode[]): string {
  const valueCases = nodes.flatMap(({ path, flags }) =>
    flags
      .filter(({ value }) => value !== "none")
      .map((flag) => {
        const names = spellings(flag)
          .map((name) => shellQuote(`${path}:${name}`))
          .join("|");
        return `    ${names}) ${bashValue(flag)}; return ;;`;
      }),
  );
  const wordCases = nodes.map(({ path, words, flags }) => {
    const all = [...words.map(({ word }) => word), ...flags.map(({ word }) => word)];
    return `    ${shellQuote(path)}) words=${shellQuote(all.join(" "))} ;;`;
  });
  return `# bash completion for remora: source <(remora completion bash)
_remora() {
  local current="\${COMP_WORDS[COMP_CWORD]}" previous="\${COMP_WORDS[COMP_CWORD-1]}" path="" words="" i
  COMPREPLY=()
  for ((i = 1; i < COMP_CWORD; i++)); do
    case "\${COMP_WORDS[i]}" in
      --) COMPREPLY=($(compgen -o bashdefault -f -- "$current")); return ;;
    esac
    case "\${path:+$path }\${COMP_WORDS[i]}" in
      ${pathPattern(nodes)}) path="\${path:+$path }\${COMP_WORDS[i]}" ;;
    esac
  done
  case "$path:$previous" in
${valueCases.join("\n")}
  esac
  case "$path" in
${wordCases.join("\n")}
  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -F _remora remora
`;
}

/** Completion for zsh: `source <(remora completion zsh)` after compinit. */
export function zshCompletion(nodes: readonly CompletionNode[]): string {
  const valueCases = nodes.flatMap(({ path, flags }) =>
    flags
      .filter(({ value }) => value !== "none")
      .map((flag) => {
        const names = spellings(flag)
          .map((name) => shellQuote(`${path}:${name}`))
          .join("|");
        return `    (${names}) ${zshValue(flag)}; return ;;`;
      }),
  );
  const wordCases = nodes.map(({ path, words, flags }) => {
    const entry = ({ word, help }: { readonly word: string; readonly help: string }): string =>
      shellQuote(`${word.replaceAll(":", "\\:")}:${help}`);
    return `    (${shellQuote(path)}) entries=(${[...words, ...flags].map(entry).join(" ")}) ;;`;
  });
  return `#compdef remora
# zsh completion for remora: source <(remora completion zsh)
_remora() {
  local previous="\${words[CURRENT-1]}" path_="" i
  local -a entries
  for ((i = 2; i < CURRENT; i++)); do
    [[ "\${words[i]}" == "--" ]] && { _files; return }
    case "\${path_:+$path_ }\${words[i]}" in
      (${pathPattern(nodes)}) path_="\${path_:+$path_ }\${words[i]}" ;;
    esac
  done
  case "$path_:$previous" in
${valueCases.join("\n")}
  esac
  case "$path_" in
${wordCases.join("\n")}
  esac
  _describe 'remora' entries
}
compdef _remora remora
`;
}

/** Completion for fish: `remora completion fish | source`. */
export function fishCompletion(nodes: readonly CompletionNode[]): string {
  const lines = nodes.flatMap(({ path, words, flags }) => {
    const when = `-n ${fishQuote(`__remora_at ${fishQuote(path)}`)}`;
    return [
      ...words.map(
        ({ word, help }) => `complete -c remora -f ${when} -a ${fishQuote(word)} -d ${fishQuote(help)}`,
      ),
      ...flags.map((flag) => {
        const short = flag.short === "" ? "" : ` -s ${flag.short.slice(1)}`;
        return `complete -c remora ${when} -l ${flag.word.slice(2)}${short} ${fishValue(flag)} -d ${fishQuote(flag.help)}`;
      }),
    ];
  });
  return `# fish completion for remora: remora completion fish | source
function __remora_at
  set -l at ""
  for word in (commandline -opc)[2..-1]
    set -l longer (string trim -- "$at $word")
    contains -- $longer ${nodes
      .filter(({ path }) => path !== "")
      .map(({ path }) => fishQuote(path))
      .join(" ")}; and set at $longer
  end
  test "$at" = "$argv[1]"
end
${lines.join("\n")}
`;
}

function spellings({ word, short }: CompletionFlag): readonly string[] {
  return short === "" ? [word] : [word, short];
}

function pathPattern(nodes: readonly CompletionNode[]): string {
  return nodes
    .filter(({ path }) => path !== "")
    .map(({ path }) => shellQuote(path))
    .join("|");
}

function bashValue({ value }: CompletionFlag): string {
  if (value === "file") return 'COMPREPLY=($(compgen -f -- "$current"))';
  if (value === "folder") return 'COMPREPLY=($(compgen -d -- "$current"))';
  return typeof value === "string"
    ? ":"
    : `COMPREPLY=($(compgen -W ${shellQuote(value.join(" "))} -- "$current"))`;
}

function zshValue({ value }: CompletionFlag): string {
  if (value === "file") return "_files";
  if (value === "folder") return "_files -/";
  return typeof value === "string" ? ":" : `compadd -- ${value.map(shellQuote).join(" ")}`;
}

function fishValue({ value }: CompletionFlag): string {
  if (value === "none") return "-f";
  if (value === "file") return "-r -F";
  if (value === "folder") return "-x -a '(__fish_complete_directories)'";
  return typeof value === "string" ? "-x" : `-x -a ${fishQuote(value.join(" "))}`;
}

/** POSIX single quotes: nothing in them is special but their end. */
function shellQuote(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

/** fish: in single quotes a backslash escapes itself and the quote. */
function fishQuote(text: string): string {
  return `'${text.replace(/[\\']/g, "\\$&")}'`;
}
