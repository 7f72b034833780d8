/** Small grammars: what is canonical stays so, and what was written is read back. */
import { HpackError } from "../../src/http2/hpack-error.js";
import { fieldName } from "../../src/http2/field-name.js";
import { CaseMarker, restoreCase } from "../../src/http2/header-case.js";
import { endOfString, huffmanCodes, huffmanLengths } from "../../src/http2/huffman-code.js";
import { huffmanDecode } from "../../src/http2/huffman-decode.js";
import { canonicalAuthority, hostOf } from "../../src/traffic/authority.js";
import { formatGrpcTimeout, parseGrpcTimeout } from "../../src/traffic/grpc-timeout.js";
import { hasEncodedSeparator, normalizeTarget, pathEndOf } from "../../src/traffic/path.js";
import { consistsOf, tokenBytes } from "../../src/traffic/field-syntax.js";
import { outcomeOf, promise, promiseEqual, sizeClass, type FuzzTarget } from "./fuzz-target.js";

const wordsOf = (...texts: readonly string[]): Buffer[] => texts.map((text) => Buffer.from(text, "latin1"));
const small = { weight: 0.3, maxBytes: 400 };

export const authorityTarget: FuzzTarget = {
  ...{ name: "authority", ...small },
  words: wordsOf("[::1]", ":80", ":65535", "..", ".", "%31", "a.b", "]", "@", "xn--", "::ffff:1.2.3.4"),
  run(input) {
    const text = input.toString("latin1");
    const canonical = canonicalAuthority(text);
    if (canonical === undefined) return "refused";
    promiseEqual(canonicalAuthority(canonical), canonical, "canonical form is a fixed point");
    promise(/^[a-z0-9\-._~:[\]]+$/.test(canonical), () => `odd characters in ${canonical}`);
    const host = hostOf(canonical);
    promise(host !== "" && canonical.startsWith(host), () => `no host in ${canonical}`);
    return `${text === canonical ? "same" : "changed"} ${host.startsWith("[")} ${host.length < canonical.length}`;
  },
};

export const pathTarget: FuzzTarget = {
  ...{ name: "path", ...small, weight: 0.5 },
  words: wordsOf(
    "/../",
    "/./",
    "%2e",
    "%2F",
    "%5c",
    "//",
    "?",
    "%00",
    "..;a",
    "%c0%af",
    "%e0%80",
    "#",
    "/.%2e/",
  ),
  run(input) {
    const text = input.toString("latin1");
    const target = normalizeTarget(text);
    if (target === undefined) return "refused";
    promiseEqual(normalizeTarget(target), target, "canonical form is a fixed point");
    const end = pathEndOf(target);
    const path = target.slice(0, end);
    promise(target === "*" || path.startsWith("/"), () => `${target} does not begin with /`);
    promise(!/\/\/|\/\.{1,2}(?:\/|$)|%2e|%5B-Za-z/i.test(path), () => `${path} is not canonical`);
    promise(!/[\0-\x20\x7f#\\]/.test(path), () => `${path} has a forbidden byte`);
    promiseEqual(target.slice(end), text.slice(pathEndOf(text)), "the query is untouched");
    promiseEqual(hasEncodedSeparator(target), /%2f|%5c/i.test(path), "encoded separators are told");
    return `${text === target} ${sizeClass(path.split("/").length)} ${end < target.length} ${path.includes("%")}`;
  },
};

export const grpcTimeoutTarget: FuzzTarget = {
  ...{ name: "grpc-timeout", ...small, weight: 0.1, maxBytes: 20 },
  words: wordsOf("99999999", "H", "M", "S", "m", "u", "n", "0", "00000001"),
  run(input) {
    const ms = parseGrpcTimeout(input.toString("latin1"));
    if (ms === undefined) return "refused";
    promise(ms >= 0 && Number.isFinite(ms), () => `${ms} ms`);
    const text = formatGrpcTimeout(ms);
    const again = parseGrpcTimeout(text);
    promise(again !== undefined, () => `${text} cannot be read`);
    // One nanosecond: zero has no spelling.
    promise(again <= Math.max(ms, 1e-6), () => `${ms} ms became longer: ${text}`);
    // One nanosecond is lost to rounding in a sum of milliseconds.
    promise(again >= ms * 0.999 - 1.1e-6, () => `${ms} ms became ${again}`);
    return `unit ${text.slice(-1)} ${text.length}`;
  },
};

export const huffmanTarget: FuzzTarget = {
  ...{ name: "huffman", ...small, maxBytes: 2000 },
  words: [Buffer.from([0xff, 0xff, 0xff, 0xff]), Buffer.from([0x3f, 0xff, 0xff, 0xff]), Buffer.from([0xfe])],
  run(input) {
    const coded = huffmanCode(input);
    promiseEqual(huffmanDecode(coded, 0, coded.length), input.toString("latin1"), "what was coded is read");
    try {
      const text = huffmanDecode(input, 0, input.length);
      promise(
        text.length <= (input.length * 8) / 5,
        () => `${text.length} characters of ${input.length} bytes`,
      );
      // Every text has one code (RFC 7541 §5.2: padding is all ones and shorter than a byte).
      promiseEqual(huffmanCode(Buffer.from(text, "latin1")), input, "the code of a text is unique");
      return `read ${sizeClass(text.length)}`;
    } catch (error: unknown) {
      if (!(error instanceof HpackError)) throw error;
      return outcomeOf(error.message);
    }
  },
};

/** RFC 7541 §5.2, bit by bit: slow, and without anything of the decoder in it. */
function huffmanCode(bytes: Buffer): Buffer {
  const bits: number[] = [];
  for (const byte of bytes) {
    promise(byte !== endOfString, () => "a byte is no EOS");
    const [code, length] = [huffmanCodes[byte] as number, huffmanLengths[byte] as number];
    for (let bit = length - 1; bit >= 0; bit--) bits.push((code >>> bit) & 1);
  }
  while (bits.length % 8 !== 0) bits.push(1);
  return Buffer.from(
    Array.from({ length: bits.length / 8 }, (_, i) => parseInt(bits.slice(i * 8, i * 8 + 8).join(""), 2)),
  );
}

/** A list of names and a mark: the mark of a list brings its letter case back, any other changes nothing but letter case. */
export const headerCaseTarget: FuzzTarget = {
  ...{ name: "header-case", ...small, maxBytes: 600 },
  words: wordsOf("t", "l", ",", "X-Request-Id", "ETag", "\n", "x-case", "TE", "Host", "-"),
  run(input) {
    const [mark = "", ...lines] = input.toString("latin1").split("\n");
    const names = lines.filter((line) => line !== "" && consistsOf(line, tokenBytes)).slice(0, 40);
    const lower = names.map((name) => name.toLowerCase());
    const restored = (by: string): string[] => {
      const headers = lower.flatMap((name) => [name, "value"]);
      restoreCase(headers, by);
      return headers.filter((_, i) => i % 2 === 0);
    };
    // The second list is compared with the first: markers remember.
    const marker = new CaseMarker();
    markOf(marker, [...names].reverse());
    const own = markOf(marker, names);
    if (own !== "" || names.every((name, i) => name === lower[i]))
      promiseEqual(restored(own), names, `letter case by ${own}`);
    promiseEqual(
      restored(mark).map((name) => name.toLowerCase()),
      lower,
      "nothing but letter case",
    );
    return `${own.slice(0, 1)} ${own.split(",").length} ${mark.slice(0, 1)} ${sizeClass(names.length)}`;
  },
};

function markOf(marker: CaseMarker, names: readonly string[]): string {
  marker.begin();
  for (const name of names) marker.add(fieldName(name));
  return marker.finish();
}
