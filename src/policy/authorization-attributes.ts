import type { RequestContext } from "../stack/request-context.js";
import { pathEndOf } from "../traffic/path.js";

/** What is decided on: who asks, and for what. */
export interface AuthorizationAttributes {
  /** The caller's SPIFFE id, as its certificate proves it; undefined without one. */
  readonly principal: string | undefined;
  /** Address of the other end of the connection, without port. */
  readonly sourceIp: string;
  /** The port that the application listens on. */
  readonly port: number;
  /** undefined: a TCP connection. */
  readonly http: HttpAttributes | undefined;
}

/** The same texts that are forwarded. */
export interface HttpAttributes {
  readonly method: string;
  /** Canonical (traffic/authority.ts). */
  readonly authority: string;
  /** Canonical (traffic/path.ts), without query. */
  readonly path: string;
  /** Names and values in turn. */
  readonly headers: readonly string[];
}

/** Of a request whose target and authority are canonical. */
export function attributesOf(request: RequestContext, port: number): AuthorizationAttributes {
  return new RequestAttributes(request, port);
}

/** Takes apart what a rule asks for, when it does. */
class RequestAttributes implements AuthorizationAttributes {
  readonly principal: string | undefined;
  readonly port: number;
  readonly http: HttpAttributes | undefined;
  readonly #remoteAddress: string;

  constructor({ head, peerId, remoteAddress }: RequestContext, port: number) {
    this.principal = peerId;
    this.port = port;
    this.#remoteAddress = remoteAddress;
    const { method, authority, target, headers, upgrade } = head;
    const isTcp = upgrade === "tcp";
    this.http = isTcp ? undefined : { method, authority, path: target.slice(0, pathEndOf(target)), headers };
  }

  get sourceIp(): string {
    return this.#remoteAddress.slice(0, this.#remoteAddress.lastIndexOf(":"));
  }
}
