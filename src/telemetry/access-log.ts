import { messageOf } from "../errors/message-of.js";
import { fstatSync, openSync } from "node:fs";
import { ConfigError } from "../errors/config-error.js";
import type { Clock } from "../time/clock.js";
import { formatJson, formatText, type AccessLogEntry } from "./access-log-format.js";
import type { Counter } from "./cells.js";
import { LineWriter } from "./line-writer.js";

export interface AccessLogOptions {
  readonly format: "off" | "text" | "json";
  /** File to append to; "-" is standard output. */
  readonly path: string;
  readonly clock: Clock;
  /** Counts lines lost because the destination is stuck or failing. */
  readonly dropped: Counter;
  /** Other processes write to the same destination. */
  readonly isShared?: boolean;
}

/**
 * What one write may put into a pipe without another process's bytes between (Linux PIPE_BUF; POSIX permits less, no system
 * in use has it). Files in append mode have no such limit.
 */
const atomicPipeBytes = 4096;

export interface AccessLog {
  /** One line for one request. Never blocks, never throws. */
  write(entry: AccessLogEntry): void;
  /** Writes what waits, within a second. */
  close(): Promise<void>;
}

/**
 * undefined when the log is off, so that nothing is gathered for it. Throws ConfigError when the file cannot be opened.
 */
export function openAccessLog(options: AccessLogOptions): AccessLog | undefined {
  const { format, path, clock, dropped, isShared = false } = options;
  if (format === "off") return undefined;
  const fd = path === "-" ? 1 : openFile(path);
  const maxWriteBytes = isShared && !fstatSync(fd).isFile() ? atomicPipeBytes : Infinity;
  const writer = new LineWriter(fd, clock, dropped, maxWriteBytes);
  const toLine = format === "json" ? formatJson : formatText;
  return { write: (entry) => writer.write(toLine(entry)), close: () => writer.close() };
}

function openFile(path: string): number {
  try {
    return openSync(path, "a", 0o640);
  } catch (error: unknown) {
    const reason = messageOf(error);
    throw new ConfigError(
      `access log ${path} cannot be opened (${reason}): name a file that can be written`,
      {
        place: "--access-log",
        cause: error,
      },
    );
  }
}
