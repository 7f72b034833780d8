/** Mutations that know nothing of what the bytes mean. */
const interesting = [0, 1, 9, 10, 13, 32, 0x2c, 0x3a, 0x3b, 0x7f, 0x80, 0xff];
const maxAtOnce = 4;
const maxRepeats = 40;

export interface Mutator {
  readonly random: () => number;
  readonly words: readonly Buffer[];
  readonly maxBytes: number;
}

/** One to four mutations of `input`, with pieces of `other`; never changes them. */
export function mutate(input: Buffer, other: Buffer, mutator: Mutator): Buffer {
  const { random, maxBytes } = mutator;
  let bytes: Buffer = Buffer.from(input);
  for (let left = 1 + Math.floor(random() * maxAtOnce); left > 0; left--)
    bytes = mutateOnce(bytes, other, mutator);
  return bytes.length > maxBytes ? bytes.subarray(0, maxBytes) : bytes;
}

function mutateOnce(bytes: Buffer, other: Buffer, { random, words }: Mutator): Buffer {
  const below = (bound: number): number => Math.floor(random() * bound);
  const at = below(bytes.length + 1);
  const length = Math.min(bytes.length - at, 1 + below(random() < 0.8 ? 8 : 200));
  const put = (piece: Buffer, replaced: number): Buffer =>
    Buffer.concat([bytes.subarray(0, at), piece, bytes.subarray(at + replaced)]);
  switch (below(10)) {
    case 0: // flip a bit
      if (at < bytes.length) bytes[at] = (bytes[at] as number) ^ (1 << below(8));
      return bytes;
    case 1: // set a byte
      if (at < bytes.length) bytes[at] = interesting[below(interesting.length)] as number;
      return bytes;
    case 2:
      if (at < bytes.length) bytes[at] = below(256);
      return bytes;
    case 3:
      return put(Buffer.alloc(0), length);
    case 4: // repeat a piece
      return put(Buffer.concat(Array<Buffer>(1 + below(3)).fill(bytes.subarray(at, at + length))), 0);
    case 5:
      return put(words[below(words.length)] ?? Buffer.alloc(1), 0);
    case 6: {
      const word = words[below(words.length)] ?? Buffer.alloc(1);
      return put(word, word.length);
    }
    case 7: {
      const from = below(other.length);
      return put(other.subarray(from, from + 1 + below(60)), random() < 0.5 ? length : 0);
    }
    case 8: // the rest of another input
      return Buffer.concat([bytes.subarray(0, at), other.subarray(below(other.length + 1))]);
    default: // many of one byte: lengths and limits
      return put(Buffer.alloc(below(maxRepeats), bytes[at] ?? 0x30), 0);
  }
}
