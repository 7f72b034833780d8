import { writeFileAtomic } from "../../certs/secret-file.js";
import type { LatestValue } from "../../src/lifecycle/latest-value.js";
import type { Clock, Timer } from "../../src/time/clock.js";

/** Changes within this time are written together. What a crash loses only makes the next start know a little less. */
const quietMs = 1000;

/**
 * Keeps a file as `textOf` says, after each change of a value; undefined: what is on the disk is the best there is.
 *
 * @returns what ends it and writes the last state.
 */
export function keepWritten<T>(options: {
  readonly file: string;
  readonly changes: LatestValue<T>;
  readonly textOf: () => string | undefined;
  readonly clock: Clock;
  readonly onError: (error: unknown) => void;
}): () => Promise<void> {
  const { file, changes, textOf, clock, onError } = options;
  let timer: Timer | undefined;
  let writing = Promise.resolve();
  let written = "";
  const write = (): Promise<void> => {
    timer = undefined;
    const text = textOf();
    if (text === undefined) return writing;
    writing = writing.then(async () => {
      if (text === written) return;
      await writeFileAtomic(file, text).then(() => (written = text), onError);
    });
    return writing;
  };
  const stop = changes.watch(() => {
    timer ??= clock.timer(quietMs, () => void write());
  });
  return () => {
    stop();
    timer?.cancel();
    return write();
  };
}
