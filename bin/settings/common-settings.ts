import { oneOf, text } from "./parsers.js";
import { defaulted, optional } from "./setting.js";

/** Every command with settings can take them from a file. */
export const config = optional(text, {
  placeholder: "FILE",
  help: "YAML file with settings of this command",
});

/** What a command prints. */
export const output = defaulted(oneOf("table", "json"), "table", {
  placeholder: "FORMAT",
  short: "-o",
  help: "table or json",
});

/** What a command that shows documents prints. */
export const documentOutput = defaulted(oneOf("table", "json", "yaml"), "table", {
  placeholder: "FORMAT",
  short: "-o",
  help: "table, json or yaml",
});
