import { isIPv4, isIPv6 } from "node:net";

/** Addresses that begin with the same bits. */
export interface IpBlock {
  /** 4 or 16 bytes. */
  readonly bytes: readonly number[];
  /** How many bits count. */
  readonly bits: number;
}

/** `10.0.0.0/8`, `fd00::/8` or one address; undefined for anything else. IPv4 written as IPv6 (::ffff:10.0.0.1) is IPv4. */
export function parseIpBlock(text: string): IpBlock | undefined {
  const slash = text.indexOf("/");
  const address = slash === -1 ? text : text.slice(0, slash);
  const bytes = ipBytes(address);
  if (bytes === undefined) return undefined;
  if (slash === -1) return { bytes, bits: bytes.length * 8 };
  const length = text.slice(slash + 1);
  if (!/^(?:0|[1-9][0-9]{0,2})$/.test(length)) return undefined;
  // The length of a mapped block counts the 96 bits of its prefix.
  const bits = Number(length) - (bytes.length === 4 && isIPv6(address) ? 96 : 0);
  return bits >= 0 && bits <= bytes.length * 8 ? { bytes, bits } : undefined;
}

/** Is the address one of the block? */
export function isInBlock(address: readonly number[], { bytes, bits }: IpBlock): boolean {
  if (address.length !== bytes.length) return false;
  const whole = bits >> 3;
  for (let i = 0; i < whole; i++) if (address[i] !== bytes[i]) return false;
  const rest = bits & 7;
  if (rest === 0) return true;
  const shift = 8 - rest;
  return (address[whole] as number) >> shift === (bytes[whole] as number) >> shift;
}

/** 4 or 16 bytes, IPv4 mapped into IPv6 as IPv4; undefined when it is no address. */
export function ipBytes(text: string): readonly number[] | undefined {
  if (isIPv4(text)) return text.split(".").map(Number);
  // A zone id means something on this machine only.
  if (!isIPv6(text) || text.includes("%")) return undefined;
  const bytes = groupsOf(text).flatMap((group) => [group >> 8, group & 0xff]);
  const isMapped = bytes.slice(0, 10).every((byte) => byte === 0) && bytes[10] === 0xff && bytes[11] === 0xff;
  return isMapped ? bytes.slice(12) : bytes;
}

/** The eight groups of a valid IPv6 address. */
function groupsOf(text: string): readonly number[] {
  const [head = "", tail] = text.split("::");
  const first = parts(head);
  const last = tail === undefined ? [] : parts(tail);
  const zeros = Math.max(0, 8 - first.length - last.length);
  return [...first, ...(tail === undefined ? [] : Array<number>(zeros).fill(0)), ...last];
}

function parts(text: string): readonly number[] {
  if (text === "") return [];
  return text.split(":").flatMap((part) => {
    if (!part.includes(".")) return [Number.parseInt(part, 16)];
    const [a = 0, b = 0, c = 0, d = 0] = part.split(".").map(Number);
    return [a * 256 + b, c * 256 + d];
  });
}
