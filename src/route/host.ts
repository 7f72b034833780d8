/** Names longer than this are no DNS names (RFC 1035 §2.3.4, with room); it bounds the work on hostile authorities. */
const maxHostLength = 255;

/**
 * The host of a canonical authority: without port, without the root dot at its end. The brackets of an IPv6 literal
 * stay. "" when it cannot be a host.
 */
export function hostOf(authority: string): string {
  let end = authority.length;
  const colon = authority.lastIndexOf(":");
  if (colon !== -1 && colon > authority.lastIndexOf("]")) end = colon;
  if (end > 1 && authority.charCodeAt(end - 1) === 0x2e) end--;
  if (end > maxHostLength) return "";
  return end === authority.length ? authority : authority.slice(0, end);
}

/** True when `pattern` (lower case, exact or `*.suffix`) covers `host`: `*.a.b` covers x.a.b and y.x.a.b, not a.b. */
export function coversHost(pattern: string, host: string): boolean {
  if (!pattern.startsWith("*.")) return pattern === host;
  return host.length > pattern.length - 1 && host.endsWith(pattern.slice(1));
}

/** Exact hosts first, then the longest `*.suffix`, as Gateway API and Envoy's virtual hosts order them. */
export class HostMap<V> {
  readonly #exact = new Map<string, V>();
  /** Key: the suffix without `*.`. */
  readonly #suffixes = new Map<string, V>();

  /** The first value of a domain stays. */
  add(domain: string, value: V): void {
    const isWildcard = domain.startsWith("*.");
    const map = isWildcard ? this.#suffixes : this.#exact;
    const key = isWildcard ? domain.slice(2) : domain;
    if (!map.has(key)) map.set(key, value);
  }

  /** `host` as hostOf() gives it. */
  find(host: string): V | undefined {
    const exact = this.#exact.get(host);
    if (exact !== undefined || this.#suffixes.size === 0) return exact;
    // From 1: something must stand before the dot.
    for (let at = host.indexOf(".", 1); at !== -1; at = host.indexOf(".", at + 1)) {
      const value = this.#suffixes.get(host.slice(at + 1));
      if (value !== undefined) return value;
    }
    return undefined;
  }
}
