import { consistsOf, tokenBytes } from "../traffic/field-syntax.js";
import type { Headers } from "../traffic/headers.js";
import { HpackError } from "./hpack-error.js";
import { huffmanDecode } from "./huffman-decode.js";
import { staticCount, staticFields } from "./static-table.js";

/** What became of a block that could be decoded; all but "ok" concern this message only. */
export type DecodeOutcome = "ok" | "too_large" | "too_many" | "malformed";

/** What a field costs beside its bytes (RFC 7541 §4.1). */
export const fieldOverhead = 32;

/** Size of every table until settings say otherwise (RFC 9113 §6.5.2). */
export const initialTableBytes = 4096;

interface Entry {
  readonly name: string;
  readonly value: string;
  readonly size: number;
  /** Fit to be a field of HTTP, and its name to be one's: looked at once, however often it is referred to. */
  readonly isValid: boolean;
  readonly hasValidName: boolean;
}

/** The receiving side of HPACK (RFC 7541), one per connection. */
export class HpackDecoder {
  readonly #maxTableBytes: number;
  #tableBytes = 0;
  /** What the peer has chosen; before it has seen our setting, the size that both begin with (RFC 9113 §6.5.2). */
  #limitBytes = initialTableBytes;
  /** A ring, its length a power of two: the newest entry is at `#newest`. */
  #ring: (Entry | undefined)[] = new Array<Entry | undefined>(64);
  #newest = 0;
  #count = 0;

  /** Names in the last block whose value its sender wants in nobody's table (RFC 7541 §7.1.3); undefined = none. */
  neverIndexed: Set<string> | undefined = undefined;

  #block: Buffer = Buffer.alloc(0);
  #at = 0;
  #end = 0;

  /** @param tableBytes our SETTINGS_HEADER_TABLE_SIZE: the most that the peer may make us keep. */
  constructor(tableBytes: number) {
    this.#maxTableBytes = tableBytes;
  }

  /**
   * Decodes one complete header block and appends its fields, in order, to `into`. Fields beyond the limits are decoded,
   * because the table must follow, but not kept. Throws HpackError: the connection is lost.
   *
   * @param maxBytes of all fields, each counted as name + value + 32.
   */
  decode(
    block: Buffer,
    from: number,
    to: number,
    into: Headers,
    maxBytes: number,
    maxFields: number,
  ): DecodeOutcome {
    this.#block = block;
    this.#at = from;
    this.#end = to;
    let bytes = 0;
    let fields = 0;
    let isValid = true;
    let updates = 0;
    this.neverIndexed = undefined;
    while (this.#at < to) {
      const first = block[this.#at] as number;
      let entry: Entry;
      if (first >= 0x80) {
        entry = this.#indexed(this.#integer(0x7f));
      } else if (first >= 0x40) {
        entry = this.#literal(this.#integer(0x3f));
        this.#insert(entry);
      } else if (first >= 0x20) {
        // RFC 7541 §4.2: only before the first field, and two are enough to say everything.
        if (fields > 0 || ++updates > 2) throw new HpackError("table size update out of place");
        this.#resize(this.#integer(0x1f));
        continue;
      } else {
        entry = this.#literal(this.#integer(0x0f));
        if (first >= 0x10 && fields < maxFields) (this.neverIndexed ??= new Set()).add(entry.name);
      }
      fields++;
      bytes += entry.size;
      if (!entry.isValid) isValid = false;
      if (bytes <= maxBytes && fields <= maxFields) into.push(entry.name, entry.value);
    }
    this.#block = emptyBlock;
    if (bytes > maxBytes) return "too_large";
    if (fields > maxFields) return "too_many";
    return isValid ? "ok" : "malformed";
  }

  #indexed(index: number): Entry {
    if (index <= staticCount) {
      const entry = staticEntries[index];
      if (entry === undefined) throw new HpackError("index 0");
      return entry;
    }
    const age = index - staticCount - 1;
    if (age >= this.#count) throw new HpackError("index beyond the table");
    return this.#ring[(this.#newest - age) & (this.#ring.length - 1)] as Entry;
  }

  #literal(nameIndex: number): Entry {
    let name: string;
    let hasValidName: boolean;
    if (nameIndex === 0) {
      name = this.#string();
      hasValidName = isFieldName(name);
    } else {
      // Not looked at again: a byte that refers to 4000 of them must not cost as much as they do.
      ({ name, hasValidName } = this.#indexed(nameIndex));
    }
    const value = this.#string();
    const isValid = hasValidName && isFieldValue(value);
    return { name, value, size: name.length + value.length + fieldOverhead, isValid, hasValidName };
  }

  #string(): string {
    if (this.#at >= this.#end) throw new HpackError("block ends inside of a field");
    const isHuffman = (this.#block[this.#at] as number) >= 0x80;
    const length = this.#integer(0x7f);
    const from = this.#at;
    const to = from + length;
    if (to > this.#end) throw new HpackError("text is longer than its block");
    this.#at = to;
    return isHuffman ? huffmanDecode(this.#block, from, to) : this.#block.toString("latin1", from, to);
  }

  /** RFC 7541 §5.1. Five bytes hold everything that can be meant. */
  #integer(mask: number): number {
    let value = (this.#block[this.#at++] as number) & mask;
    if (value < mask) return value;
    for (let shift = 0; shift <= 21; shift += 7) {
      if (this.#at >= this.#end) throw new HpackError("block ends inside of an integer");
      const byte = this.#block[this.#at++] as number;
      value += (byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    throw new HpackError("integer over 2^28");
  }

  #insert(entry: Entry): void {
    this.#evict(this.#limitBytes - entry.size);
    // RFC 7541 §4.4: what does not fit leaves an empty table.
    if (entry.size > this.#limitBytes) return;
    if (this.#count === this.#ring.length) this.#growRing();
    this.#newest = (this.#newest + 1) & (this.#ring.length - 1);
    this.#ring[this.#newest] = entry;
    this.#count++;
    this.#tableBytes += entry.size;
  }

  #evict(untilBytes: number): void {
    while (this.#count > 0 && this.#tableBytes > untilBytes) {
      const at = (this.#newest - this.#count + 1) & (this.#ring.length - 1);
      this.#tableBytes -= (this.#ring[at] as Entry).size;
      this.#ring[at] = undefined;
      this.#count--;
    }
  }

  #resize(bytes: number): void {
    if (bytes > this.#maxTableBytes) throw new HpackError("table size over our setting");
    this.#limitBytes = bytes;
    this.#evict(bytes);
  }

  /** Bounded by the table's bytes: an entry has at least 32. */
  #growRing(): void {
    const larger = new Array<Entry | undefined>(this.#ring.length * 2);
    for (let age = 0; age < this.#count; age++) {
      larger[this.#count - 1 - age] = this.#ring[(this.#newest - age) & (this.#ring.length - 1)];
    }
    this.#ring = larger;
    this.#newest = this.#count - 1;
  }
}

const emptyBlock = Buffer.alloc(0);

/** By index; index 0 is none. */
const staticEntries: readonly (Entry | undefined)[] = [
  undefined,
  ...Array.from({ length: staticCount }, (_, i): Entry => {
    const name = staticFields[2 * i] as string;
    const value = staticFields[2 * i + 1] as string;
    const size = name.length + value.length + fieldOverhead;
    return { name, value, size, isValid: true, hasValidName: true };
  }),
];

const lowerTokenBytes = tokenBytes.map((isToken, byte) => (byte >= 0x41 && byte <= 0x5a ? 0 : isToken));

/** RFC 9113 §8.2.1: a token without upper case; a pseudo-header's begins with ":". */
function isFieldName(name: string): boolean {
  if (name.charCodeAt(0) === 0x3a) return name.length > 1 && consistsOf(name.slice(1), lowerTokenBytes);
  return name.length > 0 && consistsOf(name, lowerTokenBytes);
}

/** RFC 9113 §8.2.1: no control byte, no blank at either end. */
function isFieldValue(value: string): boolean {
  if (value === "") return true;
  return (
    !isBlank(value.charCodeAt(0)) && !isBlank(value.charCodeAt(value.length - 1)) && !control.test(value)
  );
}

// What hpack strings are made of is latin1: nothing above it can occur.
const control = /[\0-\x08\x0a-\x1f\x7f]/;

function isBlank(byte: number): boolean {
  return byte === 0x20 || byte === 0x09;
}
