import { ipBytes } from "./ip-block.js";

/**
 * What an IP address stands for (IANA's special-purpose registries, RFC 6890). unspecified: connecting to it reaches this
 * machine. link-local: metadata services of clouds answer there. multicast: and what is reserved beside it, broadcast included.
 */
export type AddressKind = "host" | "loopback" | "unspecified" | "link-local" | "multicast";

/** undefined: no IP address, or one that means something on the machine only that wrote it (`fe80::1%eth0`). */
export function addressKind(text: string): AddressKind | undefined {
  const bytes = ipBytes(text);
  if (bytes === undefined) return undefined;
  return bytes.length === 4 ? kindOfIpv4(bytes) : kindOfIpv6(bytes);
}

/** The same text for the same address, however it is written; for what is no IP address the text in lower case. */
export function addressKey(text: string): string {
  return ipBytes(text)?.join(".") ?? text.toLowerCase();
}

/**
 * Whether a connection to `address` reaches a listener bound to `host`, as far as that is known without the addresses of this
 * machine: a listener on all of them is reached over loopback.
 */
export function listensAt(host: string, address: string): boolean {
  if (addressKey(host) === addressKey(address)) return true;
  return addressKind(host) === "unspecified" && addressKind(address) === "loopback";
}

function kindOfIpv4([a = 0, b = 0]: readonly number[]): AddressKind {
  if (a === 0) return "unspecified";
  if (a === 127) return "loopback";
  if (a === 169 && b === 254) return "link-local"; // RFC 3927
  return a >= 224 ? "multicast" : "host"; // RFC 1112, RFC 919
}

function kindOfIpv6(bytes: readonly number[]): AddressKind {
  const [a = 0, b = 0] = bytes;
  if (bytes.slice(0, 15).every((byte) => byte === 0)) {
    if (bytes[15] === 0) return "unspecified";
    if (bytes[15] === 1) return "loopback";
  }
  if (a === 0xfe && (b & 0xc0) === 0x80) return "link-local"; // RFC 4291 §2.5.6
  return a === 0xff ? "multicast" : "host"; // RFC 4291 §2.7
}
