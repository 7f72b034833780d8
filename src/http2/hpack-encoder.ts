import { ProxyError } from "../errors/proxy-error.js";
import { valueBytes } from "../traffic/field-syntax.js";
import { isHeaderName } from "../traffic/headers.js";
import type { ByteWriter } from "../traffic/byte-writer.js";
import { fieldOverhead, initialTableBytes } from "./hpack-decoder.js";
import { indexingRules, isShort, type IndexingRule } from "./indexing-rule.js";
import { staticCount, staticFields } from "./static-table.js";

/** Names that one connection remembers: whoever chooses names must not fill the memory with them. */
const maxNames = 256;
/** Longer names are not remembered, and never indexed. */
const maxNameLength = 64;
/** An entry above this share of the table would push too much out of it. */
const largestShare = 4;

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
  /** The entry that was referred to last, most often the next one too. */
  usual: string;
  usualRunning: number;
  /**
   * Hashes of the two values seen last that are not in the table: what comes again is worth an entry, and values that come
   * once cannot push it out. Not the values themselves: a text cut out of a head keeps all of that head in memory.
   */
  last: number;
  beforeLast: number;
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
  #limitBytes = initialTableBytes;
  #tableBytes = 0;
  /** The smallest size since the last block, and whether the decoder must be told. */
  #smallestLimit = initialTableBytes;
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
   * Appends a field; a secret one never indexed, whatever its name. Throws ProxyError internal for a name that is not a
   * lower-case token and for a value that no codec lets in: then abandon() the block.
   */
  field(out: ByteWriter, lowerName: string, value: string, isSecret = false): void {
    const state = this.#names.get(lowerName) ?? this.#newName(lowerName);
    const known = isSecret ? 0 : (state.staticValues?.get(value) ?? this.#entryOf(state, value));
    if (known > 0) {
      out.ensure(6);
      if (known < 0x7f) out.bytes[out.at++] = 0x80 | known;
      else integer(out, 0x80, 0x7f, known);
      return;
    }
    // RFC 9113 §8.2.1: it must not begin or end with a blank. What a layer has added may.
    if (isBlank(value.charCodeAt(0)) || isBlank(value.charCodeAt(value.length - 1))) {
      const trimmed = value.replace(/^[\t ]+|[\t ]+$/g, "");
      return this.field(out, lowerName, trimmed, isSecret);
    }
    const rule = isSecret ? "never" : isShort(value) ? state.shortRule : state.rule;
    const nameIndex = state.staticIndex > 0 ? state.staticIndex : this.#dynamicIndex(state.newest);
    const inserts =
      rule === "index"
        ? this.#comesAgain(state, value)
        : rule === "literal" && nameIndex === 0 && this.#makesNameKnown(state, value);
    out.ensure(24 + lowerName.length + value.length);
    if (inserts) integer(out, indexBits, 0x3f, nameIndex);
    else integer(out, rule === "never" ? neverBits : 0, 0x0f, nameIndex);
    if (nameIndex === 0) text(out, lowerName);
    text(out, value);
    // Read back: a text of its own, not one that is cut out of a head.
    if (inserts) this.#insert(state, out.bytes.toString("latin1", out.at - value.length, out.at));
  }

  #newName(name: string): NameState {
    const bare = name.charCodeAt(0) === 0x3a ? name.slice(1) : name;
    if (!isHeaderName(bare) || bare !== bare.toLowerCase()) throw unsendable("name");
    // Entries of forgotten names stay in the table until they are pushed out.
    if (this.#names.size >= maxNames) this.#names.clear();
    const known = staticNames.get(name);
    const isLong = name.length > maxNameLength;
    const { rule, shortRule } = indexingRules(name);
    const state: NameState = {
      name,
      staticIndex: known?.index ?? 0,
      staticValues: known?.values,
      rule: isLong && rule === "index" ? "literal" : rule,
      shortRule: isLong && shortRule === "index" ? "literal" : shortRule,
      inserted: new Map(),
      newest: 0,
      usual: "",
      usualRunning: 0,
      last: 0,
      beforeLast: 0,
    };
    if (!isLong) this.#names.set(name, state);
    return state;
  }

  /** Index on the wire of the entry with this value; 0 when there is none. */
  #entryOf(state: NameState, value: string): number {
    // Nothing is ever found of the others, and a look into the map would hash a value that is new each time.
    if (state.rule !== "index") return 0;
    if (state.usualRunning > this.#evicted && value === state.usual) {
      return this.#dynamicIndex(state.usualRunning);
    }
    const running = state.inserted.get(value);
    if (running === undefined) return 0;
    if (running > this.#evicted) {
      state.usual = (this.#entries[this.#oldest + running - this.#evicted - 1] as Entry).value;
      state.usualRunning = running;
    }
    return this.#dynamicIndex(running);
  }

  /** Index on the wire of the entry with this running number; 0 when it is none or has left the table. */
  #dynamicIndex(running: number): number {
    if (running <= this.#evicted) return 0;
    return staticCount + 1 + this.#evicted + (this.#entries.length - this.#oldest) - running;
  }

  /** One entry for its name's sake: what differs with each message is then told without spelling the name again. */
  #makesNameKnown(state: NameState, value: string): boolean {
    return state.name.length <= maxNameLength && this.#mayInsert(state, value);
  }

  #mayInsert({ name }: NameState, value: string): boolean {
    return (name.length + value.length + fieldOverhead) * largestShare <= this.#limitBytes;
  }

  #comesAgain(state: NameState, value: string): boolean {
    if (!this.#mayInsert(state, value)) return false;
    const hash = hashOf(value);
    if (hash === state.last || hash === state.beforeLast) return true;
    state.beforeLast = state.last;
    state.last = hash;
    return false;
  }

  #insert(state: NameState, value: string): void {
    const size = state.name.length + value.length + fieldOverhead;
    this.#evict(this.#limitBytes - size);
    this.#entries.push({ state, value, size });
    this.#tableBytes += size;
    const running = this.#evicted + this.#entries.length - this.#oldest;
    state.inserted.set(value, running);
    state.newest = running;
    state.usual = value;
    state.usualRunning = running;
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
  let at = out.at;
  for (let i = 0; i < length; i++) {
    const code = value.charCodeAt(i);
    if (valueBytes[code] !== 1) throw unsendable("value");
    bytes[at++] = code;
  }
  out.at = at;
}

/** FNV-1a. Values that collide get an entry earlier than they would, no more. */
function hashOf(value: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < value.length; i++) hash = Math.imul(hash ^ value.charCodeAt(i), 0x01000193);
  return hash;
}

function isBlank(code: number): boolean {
  return code === 0x20 || code === 0x09;
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
