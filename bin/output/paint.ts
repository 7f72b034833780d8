import type { Terminal } from "../terminal.js";

/** Marks and colours of a terminal; plain ASCII where the reader is a program or asked for no colour (no-color.org). */
export interface Paint {
  readonly ok: string;
  readonly warning: string;
  readonly failed: string;
  red(text: string): string;
  yellow(text: string): string;
  green(text: string): string;
}

export function paintFor(terminal: Pick<Terminal, "isOutTty" | "env">): Paint {
  const { env, isOutTty } = terminal;
  const isColoured = isOutTty && (env["NO_COLOR"] ?? "") === "" && env["TERM"] !== "dumb";
  const colour = (code: number) => (text: string) => (isColoured ? `\x1b[${code}m${text}\x1b[0m` : text);
  const [red, yellow, green] = [colour(31), colour(33), colour(32)];
  const isUnicode = /utf-?8/i.test(env["LC_ALL"] || env["LC_CTYPE"] || env["LANG"] || "");
  return {
    ok: green(isUnicode ? "√" : "ok"),
    warning: yellow(isUnicode ? "‼" : "!!"),
    failed: red(isUnicode ? "×" : "XX"),
    red,
    yellow,
    green,
  };
}
