import { ProxyError } from "../errors/proxy-error.js";
import { hasStrayControl } from "../traffic/field-syntax.js";
import { isHeaderName } from "../traffic/headers.js";
import type { ByteWriter } from "./byte-writer.js";
import { fieldOverhead } from "./hpack-decoder.js";
import { indexingRules, isShort, type IndexingRule } from "./indexing-rule.js";
import { staticCount, staticFields } from "./static-table.js";

/** Names that one connection remembers: whoever chooses names must not fill the memory with them. */
const maxNames = 256;
/** An entry above this share of the table would push too much out of it. */
const largestShare = 4;
/** Below this many characters a loop is faster than a call into the Buffer. */
const shortText = 24;

const indexBits = 0x40;
const neverBits = 0x10;

interface NameState {
  readonly name: string;
  readonly staticIndex: number;
  readonly staticValues: ReadonlyMap<string, number> | undefined;
  readonly rule: IndexingRule;
  readonly shortRule: IndexingRule;
  /** Values in the dynamic table: their running number. */
  readonly inserted: Map<string, number>;
  /** The newest entry of this name, whatever its value: its running number; 0 = none. */
  newest: number;
  /** The two values seen last that are not in the table: what comes again is worth an entry. */
  last: string | undefined;
  beforeLast: string | undefined;
}

interface Entry {
  readonly state: NameState;
  readonly value: string;
  readonly size: number;
}

/**
 * The sending side of HPACK (RFC 7541), one per connection. Text is sent as it is: Huffman coding would save bytes that cost
 * less than the time to code them (HAProxy does the same).
 */
export class HpackEncoder {
  readonly #maxTableBytes: number;
  #limitBytes = 4096;
  #tableBytes = 0;
  /** The smallest size since the last block, and whether the decoder must be told. */
  #smallestLimit = 4096;
  #owesUpdate = false;
  readonly #names = new Map<string, NameState>();
  /** Oldest first, from `#oldest` on; running number of entry i is `#evicted` + i - `#oldest` + 1. */
  #entries: Entry[] = [];
  #oldest = 0;
  /** Entries that have left the table. */
  #evicted = 0;

  /** @param maxTableBytes the most of the peer's table that we use. */
  constructor(maxTableBytes: number) {
    this.#maxTableBytes = maxTableBytes;
    if (maxTableBytes < this.#limitBytes) this.setPeerTableBytes(this.#limitBytes);
  }

  /** The peer's SETTINGS_HEADER_TABLE_SIZE; takes effect with the next block. */
  setPeerTableBytes(bytes: number): void {
    const limit = Math.min(bytes, this.#maxTableBytes);
    if (limit === this.#limitBytes) return;
    this.#limitBytes = limit;
    this.#smallestLimit = Math.min(this.#smallestLimit, limit);
    this.#owesUpdate = true;
    this.#evict(limit);
  }

  /** Begins a block; fields follow. */
  begin(out: ByteWriter): void {
    if (!this.#owesUpdate) return;
    this.#owesUpdate = false;
    out.ensure(12);
    // RFC 7541 §4.2: a dip in between must be told, too.
    if (this.#smallestLimit < this.#limitBytes) integer(out, 0x20, 0x1f, this.#smallestLimit);
    integer(out, 0x20, 0x1f, this.#limitBytes);
    this.#smallestLimit = this.#limitBytes;
  }

  /** The block that was begun will not be sent: what it put into the table, the peer never hears of. */
  abandon(): void {
    this.#evict(0);
    this.#smallestLimit = 0;
    this.#owesUpdate = true;
  }

  /**
   * Appends a field. Throws ProxyError internal for a name that is not a lower-case token and for a value that no codec lets
   * in: then abandon() the block.
   */
  field(out: ByteWriter, lowerName: string, value: string): void {
    const state = this.#names.get(lowerName) ?? this.#newName(lowerName);
    const known = state.staticValues?.get(value) ?? this.#dynamicIndex(state.inserted.get(value));
    if (known > 0) {
      out.ensure(6);
      if (known < 0x7f) out.bytes[out.at++] = 0x80 | known;
      else integer(out, 0x80, 0x7f, known);
      return;
    }
    const rule = isShort(value) ? state.shortRule : state.rule;
    const inserts = rule === "index" && this.#comesAgain(state, value);
    const nameIndex = state.staticIndex > 0 ? state.staticIndex : this.#dynamicIndex(state.newest);
    out.ensure(24 + state.name.length + value.length);
    if (inserts) integer(out, indexBits, 0x3f, nameIndex);
    else integer(out, rule === "never" ? neverBits : 0, 0x0f, nameIndex);
    if (nameIndex === 0) text(out, state.name);
    text(out, value);
    if (inserts) this.#insert(state, value);
  }

  #newName(name: string): NameState {
    const bare = name.charCodeAt(0) === 0x3a ? name.slice(1) : name;
    if (!isHeaderName(bare) || bare !== bare.toLowerCase()) throw unsendable("name");
    // Entries of forgotten names stay in the table until they are pushed out.
    if (this.#names.size >= maxNames) this.#names.clear();
    const known = staticNames.get(name);
    const state: NameState = {
      ...{ name, staticIndex: known?.index ?? 0, staticValues: known?.values, ...indexingRules(name) },
      ...{ inserted: new Map(), newest: 0, last: undefined, beforeLast: undefined },
    };
    this.#names.set(name, state);
    return state;
  }

  /** Index on the wire of the entry with this running number; 0 when it is none or has left the table. */
  #dynamicIndex(running: number | undefined): number {
    if (running === undefined || running <= this.#evicted) return 0;
    return staticCount + 1 + this.#evicted + (this.#entries.length - this.#oldest) - running;
  }

  #comesAgain(state: NameState, value: string): boolean {
    if (value !== state.last && value !== state.beforeLast) {
      state.beforeLast = state.last;
      state.last = value;
      return false;
    }
    return (state.name.length + value.length + fieldOverhead) * largestShare <= this.#limitBytes;
  }

  #insert(state: NameState, value: string): void {
    const size = state.name.length + value.length + fieldOverhead;
    this.#evict(this.#limitBytes - size);
    this.#entries.push({ state, value, size });
    this.#tableBytes += size;
    const running = this.#evicted + this.#entries.length - this.#oldest;
    state.inserted.set(value, running);
    state.newest = running;
  }

  #evict(untilBytes: number): void {
    while (this.#tableBytes > untilBytes) {
      const { state, value, size } = this.#entries[this.#oldest++] as Entry;
      this.#tableBytes -= size;
      this.#evicted++;
      if (state.inserted.get(value) === this.#evicted) state.inserted.delete(value);
    }
    if (this.#oldest > 64) {
      this.#entries = this.#entries.slice(this.#oldest);
      this.#oldest = 0;
    }
  }
}

/** RFC 7541 §5.1; room for it must be there. */
function integer(out: ByteWriter, pattern: number, mask: number, value: number): void {
  const { bytes } = out;
  if (value < mask) {
    bytes[out.at++] = pattern | value;
    return;
  }
  bytes[out.at++] = pattern | mask;
  let rest = value - mask;
  for (; rest >= 0x80; rest >>>= 7) bytes[out.at++] = (rest & 0x7f) | 0x80;
  bytes[out.at++] = rest;
}

/** A text of latin1 as it is; room for it must be there. */
function text(out: ByteWriter, value: string): void {
  const { length } = value;
  integer(out, 0, 0x7f, length);
  const { bytes } = out;
  if (length <= shortText) {
    let at = out.at;
    for (let i = 0; i < length; i++) {
      const code = value.charCodeAt(i);
      if ((code < 0x20 && code !== 0x09) || code === 0x7f || code > 0xff) throw unsendable("value");
      bytes[at++] = code;
    }
    out.at = at;
  } else {
    // Line endings are legal in a whole head, which the pattern is made for, but not in a field.
    if (hasStrayControl(value) || value.includes("\n")) throw unsendable("value");
    out.at += bytes.write(value, out.at, "latin1");
  }
}

function unsendable(what: string): ProxyError {
  return new ProxyError(
    "internal",
    `control character or non-latin1 text in the ${what} of an outgoing field`,
  );
}

interface StaticName {
  readonly index: number;
  readonly values: ReadonlyMap<string, number>;
}

const staticNames: ReadonlyMap<string, StaticName> = collectStaticNames();

function collectStaticNames(): ReadonlyMap<string, StaticName> {
  const names = new Map<string, { index: number; values: Map<string, number> }>();
  for (let index = 1; index <= staticCount; index++) {
    const name = staticFields[2 * index - 2] as string;
    const known = names.get(name) ?? { index, values: new Map<string, number>() };
    names.set(name, known);
    const value = staticFields[2 * index - 1] as string;
    if (!known.values.has(value)) known.values.set(value, index);
  }
  return names;
}
