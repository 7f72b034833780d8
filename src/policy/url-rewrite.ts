import type { PathMatch, PathRewrite, UrlRewrite } from "../config/snapshot.js";
import { ConfigError } from "../errors/config-error.js";
import { setHeader } from "../traffic/headers.js";
import type { RequestHead } from "../traffic/message.js";
import { normalizeTarget, pathEndOf } from "../traffic/path.js";

/** Lower-case name or IPv6 literal; never a port (Gateway API PreciseHostname). */
const hostname = /^(?:[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?|\[[0-9a-f:.]+\])$/;

/** Changes what the upstream sees as its path and Host. The query stays. In place. The rewrite was checked before. */
export function applyUrlRewrite(head: RequestHead, rewrite: UrlRewrite, matched: PathMatch): void {
  if (rewrite.path !== undefined) head.target = rewriteTarget(head.target, rewrite.path, matched);
  if (rewrite.hostname !== undefined) {
    head.authority = rewrite.hostname;
    setHeader(head.headers, "Host", rewrite.hostname);
  }
}

/**
 * Target with its path replaced, or with the part of it that `matched` covers (Gateway API ReplacePrefixMatch). A prefix
 * rewrite of a route that does not match by prefix changes nothing: there is no prefix.
 */
export function rewriteTarget(target: string, rewrite: PathRewrite, matched: PathMatch): string {
  if (target === "*") return target; // OPTIONS * has no path (RFC 9112 §3.2.4)
  const pathEnd = pathEndOf(target);
  if (rewrite.type === "full") return (rewrite.value === "" ? "/" : rewrite.value) + target.slice(pathEnd);
  if (matched.type !== "prefix") return target;
  const prefix = normalizeTarget(matched.value) ?? matched.value;
  const base = withoutTrailingSlash(rewrite.value);
  // What is left begins with "/" or is empty, because prefixes match whole segments.
  const rest = target.slice(withoutTrailingSlash(prefix).length, pathEnd);
  const path = rest === "" && base === "" ? "/" : base + rest;
  return path + target.slice(pathEnd);
}

/** Throws ConfigError, naming `place`, for a hostname or path that could not stand in a request line. */
export function checkUrlRewrite(
  rewrite: { readonly hostname?: string; readonly path?: PathRewrite },
  place: string,
): void {
  const name = rewrite.hostname;
  if (name !== undefined && (name.length > 253 || !hostname.test(name)))
    throw new ConfigError(`hostname ${JSON.stringify(name)} is not a lower-case host name without port`, {
      place,
    });
  const path = rewrite.path?.value;
  if (path === undefined || path === "") return;
  if (path.includes("?") || path === "*" || normalizeTarget(path) === undefined)
    throw new ConfigError(
      `path ${JSON.stringify(path)} is not an absolute path without query; percent-encode other characters`,
      { place },
    );
}

function withoutTrailingSlash(path: string): string {
  return path.endsWith("/") ? path.slice(0, -1) : path;
}
