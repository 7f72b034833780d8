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

  /** `host` of a canonical authority, without port (traffic/authority.ts), so of bounded length. */
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
