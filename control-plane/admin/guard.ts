import { isIP } from "node:net";

/** What of a request decides whether it is served at all. */
export interface GuardedRequest {
  readonly host: string | undefined;
  readonly origin: string | undefined;
  /** `Sec-Fetch-Site`, which browsers set and pages cannot. */
  readonly fetchSite: string | undefined;
  readonly authorization: string | undefined;
  /** Address that the connection arrived at, an IP literal. */
  readonly localAddress: string;
}

export interface Refusal {
  readonly status: 401 | 403 | 421;
  readonly error: string;
  readonly fix: string;
}

/**
 * Host before Origin before token: a web page that reaches us by DNS rebinding or a cross-site form learns nothing about
 * the token. Pure.
 *
 * @param isToken undefined for what everybody on the machine may read.
 */
export function guard(
  request: GuardedRequest,
  isToken: ((text: string) => boolean) | undefined,
): Refusal | undefined {
  if (!isOurHost(request.host, request.localAddress))
    return {
      status: 421,
      error: `the admin API is not served as ${JSON.stringify(request.host ?? "")}`,
      fix: "address it as localhost or by its IP address",
    };
  const isForeign = request.origin !== undefined && request.origin !== `http://${request.host}`;
  if (isForeign || request.fetchSite === "cross-site" || request.fetchSite === "same-site")
    return { status: 403, error: "requests from web pages are refused", fix: "use the remora command line" };
  if (isToken === undefined) return undefined;
  const bearer = bearerOf(request.authorization);
  if (bearer !== undefined && isToken(bearer)) return undefined;
  return {
    status: 401,
    error: bearer === undefined ? "no admin token" : "wrong admin token",
    fix: "send the content of <data-dir>/admin.token as a bearer token (--admin-token-file)",
  };
}

/** The token of a request. */
export function bearerOf(authorization: string | undefined): string | undefined {
  return /^Bearer ([\x21-\x7e]{1,512})$/i.exec(authorization ?? "")?.[1];
}

/** `localhost`, a loopback literal, or the very address of the connection; the port is of no interest. */
function isOurHost(host: string | undefined, localAddress: string): boolean {
  const match = /^(?:\[([0-9A-Fa-f:.]+)\]|([^:[\]@/\s]+))(?::\d{1,5})?$/.exec(host ?? "");
  const name = (match?.[1] ?? match?.[2])?.toLowerCase();
  if (name === undefined) return false;
  if (name === "localhost") return true;
  if (isIP(name) === 0) return false;
  return name === "::1" || /^127\./.test(name) || name === localAddress.replace(/^::ffff:/, "").toLowerCase();
}
