import type { PathMatch, RedirectConfig } from "../config/snapshot.js";
import type { RequestHead } from "../traffic/message.js";
import { rewriteTarget } from "./url-rewrite.js";

/** The local answer of a RequestRedirect. */
export interface Redirect {
  readonly status: RedirectConfig["status"];
  /** Absolute URI; only visible ASCII. */
  readonly location: string;
}

const defaultPort: Readonly<Record<"http" | "https", string>> = { http: "80", https: "443" };
const invisible = /[^\x21-\x7e]/g;

/**
 * Gateway API HTTPRequestRedirectFilter: what is not given is taken from the request; without a port, a given scheme
 * means that scheme's own port, else the port that the client asked for; a scheme's own port is not written. `scheme` is
 * the request's. The configuration was checked with checkUrlRewrite when it was applied.
 */
export function redirectFor(
  head: RequestHead,
  redirect: RedirectConfig,
  matched: PathMatch,
  scheme: "http" | "https" = "http",
): Redirect {
  const toScheme = redirect.scheme ?? scheme;
  const [host, requestPort] = splitAuthority(head.authority);
  const inherited = redirect.scheme === undefined ? requestPort : "";
  const port = redirect.port === undefined ? inherited : String(redirect.port);
  const suffix = port === "" || port === defaultPort[toScheme] ? "" : `:${port}`;
  const { path } = redirect;
  const target = path === undefined ? head.target : rewriteTarget(head.target, path, matched);
  const location = `${toScheme}://${redirect.hostname ?? host}${suffix}${target === "*" ? "/" : target}`;
  return { status: redirect.status, location: location.replace(invisible, percentEncode) };
}

function splitAuthority(authority: string): readonly [host: string, port: string] {
  const colon = authority.lastIndexOf(":");
  if (colon === -1 || colon < authority.lastIndexOf("]")) return [authority, ""];
  return [authority.slice(0, colon), authority.slice(colon + 1)];
}

/** Heads hold bytes as latin1 characters. Whatever else it is, a CR or LF must never reach a header. */
function percentEncode(character: string): string {
  return `%${(character.charCodeAt(0) & 0xff).toString(16).toUpperCase().padStart(2, "0")}`;
}
