import { main } from "../../bin/main.js";
import type { Terminal } from "../../bin/terminal.js";
import { systemClock } from "../../src/time/clock.js";

/** What a command line left behind. */
export interface Ran {
  readonly code: number;
  readonly out: string;
  readonly error: string;
}

/** Runs one command line in this process, away from the real environment and home. */
export async function remora(
  args: readonly string[],
  world: Partial<Pick<Terminal, "env" | "homeDir" | "isOutTty" | "clock">> & { readonly input?: string } = {},
): Promise<Ran> {
  let out = "";
  let error = "";
  const code = await main(args, {
    out: (text) => void (out += text),
    error: (text) => void (error += text),
    env: {},
    homeDir: "/nonexistent",
    isOutTty: false,
    isErrorTty: false,
    clock: systemClock,
    ...world,
    input: () => Promise.resolve(world.input ?? ""),
  });
  return { code, out, error };
}
