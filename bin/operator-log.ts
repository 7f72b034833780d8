import { inspect } from "node:util";
import type { Log, LogLevel } from "../src/sidecar.js";
import type { Terminal } from "./terminal.js";

/** The operator's log of a sidecar: JSON lines on standard error, or text when a person watches. */
export interface OperatorLog {
  readonly log: Log;
  /** Read and set while it runs. */
  readonly level: { get(): LogLevel; set(level: string): boolean };
}

const levels: readonly LogLevel[] = ["debug", "info", "warn", "error"];

export function createOperatorLog(least: LogLevel, terminal: Terminal): OperatorLog {
  let threshold = levels.indexOf(least);
  const format = terminal.isErrorTty ? textLine : jsonLine;
  return {
    log: (level, message, fields) => {
      if (levels.indexOf(level) < threshold) return;
      terminal.error(`${format(new Date(terminal.clock.wallMs()), level, message, fields ?? {})}\n`);
    },
    level: {
      get: () => levels[threshold] ?? "info",
      set: (level) => {
        const at = (levels as readonly string[]).indexOf(level);
        if (at === -1) return false;
        threshold = at;
        return true;
      },
    },
  };
}

type Fields = Readonly<Record<string, unknown>>;

/** `{"time","level","msg",...}`: the names that log collectors of Go services know (log/slog). */
function jsonLine(time: Date, level: LogLevel, msg: string, fields: Fields): string {
  return JSON.stringify({ time: time.toISOString(), level, msg, ...fields });
}

function textLine(time: Date, level: LogLevel, message: string, fields: Fields): string {
  const pairs = Object.entries(fields)
    .filter(([, value]) => value !== undefined)
    .map(
      ([key, value]) =>
        `${key}=${typeof value === "string" && /^[\x21-\x7e]+$/.test(value) ? value : inspect(value)}`,
    );
  return [time.toISOString().slice(11, 23), level.toUpperCase().padEnd(5), message, ...pairs].join(" ");
}
