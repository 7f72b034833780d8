import type { PriorityConfig } from "../config/priority-config.js";
import type { PriorityClass } from "../traffic/priority.js";
import type { Fields } from "./fields.js";

const words = { critical: "CRITICAL", default: "DEFAULT", batch: "BATCH" } as const;
type Word = (typeof words)[PriorityClass];
const classOf: Readonly<Record<Word, PriorityClass>> = {
  CRITICAL: "critical",
  DEFAULT: "default",
  BATCH: "batch",
};

/** remora.v1.Priority.Class. */
export function encodePriorityClass(name: PriorityClass): Word {
  return words[name];
}

/** Throws ConfigError. */
export function decodePriorityClass(fields: Fields, name: string): PriorityClass {
  return classOf[fields.oneOf(name, Object.values(words))];
}

/** remora.v1.Priority. */
export function encodePriority(priority: PriorityConfig): object {
  return priority.type === "class"
    ? { class: encodePriorityClass(priority.class) }
    : { header: priority.name };
}

/** Throws ConfigError. */
export function decodePriority(fields: Fields): PriorityConfig {
  const name = fields.string("header");
  if (name !== "") return { type: "header", name };
  return { type: "class", class: decodePriorityClass(fields, "class") };
}
