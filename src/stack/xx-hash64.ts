/**
 * XXH64, in halves of 32 bits: JavaScript has no 64-bit integer that is fast. Balancers place endpoints and requests with it
 * exactly as Envoy does.
 * Source: https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md, "XXH64 algorithm description".
 */

/** An unsigned 64-bit number; both halves are within 0 .. 2^32-1. */
export interface Hash64 {
  readonly hi: number;
  readonly lo: number;
}

const zero: Hash64 = { hi: 0, lo: 0 };

/** XXH64 of a text of which each character stands for one byte, as in header values and addresses. */
export function xxHash64(text: string, seed: Hash64 = zero): Hash64 {
  const { length } = text;
  let at = 0;
  let hash: Word;
  if (length < 32) {
    hash = new Word(seed.hi, seed.lo).add(prime5Hi, prime5Lo);
  } else {
    const lanes = startLanes(seed);
    for (; at + 32 <= length; at += 32) {
      for (let i = 0; i < 4; i++)
        (lanes[i] as Word).round(word(text, at + 8 * i + 4), word(text, at + 8 * i));
    }
    hash = joinLanes(lanes);
  }
  hash.add(0, length);
  for (; at + 8 <= length; at += 8) {
    const lane = new Word(0, 0).round(word(text, at + 4), word(text, at));
    hash.xor(lane.hi, lane.lo).rotate(27).multiply(prime1Hi, prime1Lo).add(prime4Hi, prime4Lo);
  }
  if (at + 4 <= length) {
    const lane = new Word(0, word(text, at)).multiply(prime1Hi, prime1Lo);
    hash.xor(lane.hi, lane.lo).rotate(23).multiply(prime2Hi, prime2Lo).add(prime3Hi, prime3Lo);
    at += 4;
  }
  for (; at < length; at++) {
    const lane = new Word(0, byte(text, at)).multiply(prime5Hi, prime5Lo);
    hash.xor(lane.hi, lane.lo).rotate(11).multiply(prime1Hi, prime1Lo);
  }
  return hash.avalanche().value;
}

/** The four accumulators of a text of 32 bytes or more. */
function startLanes(seed: Hash64): readonly Word[] {
  const { hi, lo } = seed;
  return [
    new Word(hi, lo).add(prime1Hi, prime1Lo).add(prime2Hi, prime2Lo),
    new Word(hi, lo).add(prime2Hi, prime2Lo),
    new Word(hi, lo),
    new Word(hi, lo).subtract(prime1Hi, prime1Lo),
  ];
}

function joinLanes(lanes: readonly Word[]): Word {
  const hash = new Word(0, 0);
  lanes.forEach((lane, i) => {
    const turned = new Word(lane.hi, lane.lo).rotate([1, 7, 12, 18][i] as number);
    hash.add(turned.hi, turned.lo);
  });
  for (const lane of lanes) {
    const mixed = new Word(0, 0).round(lane.hi, lane.lo);
    hash.xor(mixed.hi, mixed.lo).multiply(prime1Hi, prime1Lo).add(prime4Hi, prime4Lo);
  }
  return hash;
}

/** Four bytes, the lowest first. */
function word(text: string, at: number): number {
  return byte(text, at) | (byte(text, at + 1) << 8) | (byte(text, at + 2) << 16) | (byte(text, at + 3) << 24);
}

function byte(text: string, at: number): number {
  return text.charCodeAt(at) & 0xff;
}

/** A 64-bit register; its halves are of either sign, and `value` is not. */
class Word {
  hi: number;
  lo: number;

  constructor(hi: number, lo: number) {
    this.hi = hi | 0;
    this.lo = lo | 0;
  }

  get value(): Hash64 {
    return { hi: this.hi >>> 0, lo: this.lo >>> 0 };
  }

  add(hi: number, lo: number): this {
    const sum = (this.lo >>> 0) + (lo >>> 0);
    this.hi = (this.hi + hi + (sum > 0xffffffff ? 1 : 0)) | 0;
    this.lo = sum | 0;
    return this;
  }

  subtract(hi: number, lo: number): this {
    return this.add(~hi, ~lo).add(0, 1);
  }

  xor(hi: number, lo: number): this {
    this.hi ^= hi;
    this.lo ^= lo;
    return this;
  }

  multiply(hi: number, lo: number): this {
    const low = this.lo;
    this.hi = (highProduct(low, lo) + Math.imul(this.hi, lo) + Math.imul(low, hi)) | 0;
    this.lo = Math.imul(low, lo);
    return this;
  }

  /** To the left, by 1 to 31 bits. */
  rotate(bits: number): this {
    const { hi, lo } = this;
    this.hi = (hi << bits) | (lo >>> (32 - bits));
    this.lo = (lo << bits) | (hi >>> (32 - bits));
    return this;
  }

  /** One step of an accumulator. */
  round(hi: number, lo: number): this {
    const input = new Word(hi, lo).multiply(prime2Hi, prime2Lo);
    return this.add(input.hi, input.lo).rotate(31).multiply(prime1Hi, prime1Lo);
  }

  /** The final mix: every bit of the input reaches every bit of the hash. */
  avalanche(): this {
    this.lo ^= this.hi >>> 1; // >> 33
    this.multiply(prime2Hi, prime2Lo);
    this.lo ^= (this.lo >>> 29) | (this.hi << 3); // >> 29
    this.hi ^= this.hi >>> 29;
    this.multiply(prime3Hi, prime3Lo);
    this.lo ^= this.hi; // >> 32
    return this;
  }
}

/** The upper 32 bits of the product of two unsigned 32-bit numbers. */
function highProduct(a: number, b: number): number {
  const aHigh = a >>> 16;
  const aLow = a & 0xffff;
  const bHigh = b >>> 16;
  const bLow = b & 0xffff;
  const middle = aHigh * bLow + ((aLow * bLow) >>> 16);
  const carried = aLow * bHigh + (middle & 0xffff);
  return aHigh * bHigh + (middle >>> 16) + (carried >>> 16);
}

const prime1Hi = 0x9e3779b1;
const prime1Lo = 0x85ebca87;
const prime2Hi = 0xc2b2ae3d;
const prime2Lo = 0x27d4eb4f;
const prime3Hi = 0x165667b1;
const prime3Lo = 0x9e3779f9;
const prime4Hi = 0x85ebca77;
const prime4Lo = 0xc2b2ae63;
const prime5Hi = 0x27d4eb2f;
const prime5Lo = 0x165667c5;
