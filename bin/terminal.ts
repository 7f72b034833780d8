import { homedir } from "node:os";
import { text } from "node:stream/consumers";
import { systemClock, type Clock } from "../src/time/clock.js";

/** The command line's world: what it prints to and reads from. Tests put their own in its place. */
export interface Terminal {
  out(text: string): void;
  error(text: string): void;
  /** All of standard input. */
  input(): Promise<string>;
  readonly env: NodeJS.ProcessEnv;
  readonly homeDir: string;
  /** May standard output be coloured and drawn on with more than ASCII? */
  readonly isOutTty: boolean;
  readonly isErrorTty: boolean;
  readonly clock: Clock;
}

/** The real one. */
export function processTerminal(): Terminal {
  return {
    out: (line) => void process.stdout.write(line),
    error: (line) => void process.stderr.write(line),
    input: () => text(process.stdin),
    env: process.env,
    homeDir: homedir(),
    isOutTty: process.stdout.isTTY === true,
    isErrorTty: process.stderr.isTTY === true,
    clock: systemClock,
  };
}
