/** What is fuzzed: one reader of bytes that a peer sends, and what it promises for all of them. */
export interface FuzzTarget {
  /** Also the name of its folder of seeds. */
  readonly name: string;
  /** Share of the time, 1 = as much as any other. */
  readonly weight: number;
  /** Longest input that is made. */
  readonly maxBytes: number;
  /** Pieces that mean something to the reader; mutations put them in. */
  readonly words: readonly Buffer[];
  /** Seeds beside the files of test/fuzz/seeds/<name>/. */
  readonly seeds?: () => readonly Buffer[];
  /** A mutation that keeps to the outer form of inputs, where the general one would mostly break it. */
  readonly mutate?: (input: Buffer, random: () => number) => Buffer;
  /**
   * Reads one input. Gives a text that tells apart what happened: inputs with a new one are kept and mutated further. Throws
   * when a promise is broken.
   */
  run(input: Buffer): string | Promise<string>;
}

/** A promise that a reader makes for every input; throws when it is broken. */
export function promise(isKept: boolean, what: () => string): asserts isKept {
  if (!isKept) throw new Error(`broken promise: ${what()}`);
}

/** Both are the same as text; for values that consist of plain data. */
export function promiseEqual(actual: unknown, expected: unknown, what: string): void {
  const [one, other] = [JSON.stringify(actual), JSON.stringify(expected)];
  promise(one === other, () => `${what}: ${one} is not ${other}`);
}

/** An error's text as an outcome: numbers and quotations would make every input a new one. */
export function outcomeOf(text: string): string {
  return text.replace(/\d+/g, "N").slice(0, 100);
}

/** 0 to 3 for 0, 1, 2-7, more: sizes as part of an outcome. */
export function sizeClass(size: number): number {
  return size < 2 ? size : size < 8 ? 2 : 3;
}

/** A number that depends on all bytes of an input (FNV-1a), for choices that a replay must make again. */
export function hashOf(bytes: Buffer): number {
  let hash = 0x811c9dc5;
  for (const byte of bytes) hash = Math.imul(hash ^ byte, 0x01000193);
  return hash >>> 0;
}

/** Where to cut an input: up to eight places, sometimes every byte. */
export function cutsOf(bytes: Buffer, random: () => number): number[] {
  if (bytes.length < 300 && random() < 0.2) return Array.from(bytes, (_, i) => i);
  return Array.from({ length: Math.floor(random() * 8) }, () => Math.floor(random() * (bytes.length + 1)));
}
