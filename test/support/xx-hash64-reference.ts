/** XXH64 with BigInt, line by line as the specification has it: slow, and written apart from the one it is compared with. */
const mask = (1n << 64n) - 1n;
const p1 = 0x9e3779b185ebca87n;
const p2 = 0xc2b2ae3d27d4eb4fn;
const p3 = 0x165667b19e3779f9n;
const p4 = 0x85ebca77c2b2ae63n;
const p5 = 0x27d4eb2f165667c5n;
const rotate = (value: bigint, bits: bigint): bigint => ((value << bits) | (value >> (64n - bits))) & mask;
const round = (acc: bigint, lane: bigint): bigint => (rotate((acc + lane * p2) & mask, 31n) * p1) & mask;
const merge = (acc: bigint, value: bigint): bigint => ((acc ^ round(0n, value)) * p1 + p4) & mask;

export function referenceXxHash64(input: Buffer, seed: bigint): bigint {
  let at = 0;
  let acc = (seed + p5) & mask;
  if (input.length >= 32) {
    const lanes = [seed + p1 + p2, seed + p2, seed, seed - p1].map((lane) => lane & mask);
    for (; at + 32 <= input.length; at += 32) {
      lanes.forEach((lane, i) => (lanes[i] = round(lane, input.readBigUInt64LE(at + 8 * i))));
    }
    const turns = [1n, 7n, 12n, 18n];
    acc = lanes.reduce((sum, lane, i) => (sum + rotate(lane, turns[i] ?? 0n)) & mask, 0n);
    acc = lanes.reduce(merge, acc);
  }
  acc = (acc + BigInt(input.length)) & mask;
  for (; at + 8 <= input.length; at += 8) {
    acc = (rotate(acc ^ round(0n, input.readBigUInt64LE(at)), 27n) * p1 + p4) & mask;
  }
  if (at + 4 <= input.length) {
    acc = (rotate(acc ^ ((BigInt(input.readUInt32LE(at)) * p1) & mask), 23n) * p2 + p3) & mask;
    at += 4;
  }
  for (; at < input.length; at++) {
    acc = (rotate(acc ^ ((BigInt(input[at] ?? 0) * p5) & mask), 11n) * p1) & mask;
  }
  acc = ((acc ^ (acc >> 33n)) * p2) & mask;
  acc = ((acc ^ (acc >> 29n)) * p3) & mask;
  return acc ^ (acc >> 32n);
}
