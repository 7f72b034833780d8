import type { Headers } from "./headers.js";

/** HTTP version of the connection that a message came by. */
export type HttpVersion = "1.0" | "1.1" | "2";

/**
 * The head of a request, independent of the codec: hop-by-hop fields (RFC 9110 §7.6.1) and Transfer-Encoding are taken
 * off by the codec that read it and put on by the codec that writes it. Owned by its request; layers may change it.
 */
export interface RequestHead {
  method: string;
  /** Path and query as they will be forwarded, beginning with "/"; "*" for OPTIONS *. Never a fragment. */
  target: string;
  /** Canonical authority: lower case host, with port if the client gave one. Routing and authorization use only this. */
  authority: string;
  readonly version: HttpVersion;
  /** End-to-end fields, Host and Content-Length included. The codec guarantees exactly one Host that equals authority. */
  headers: Headers;
  /** Lower-case names of fields that HPACK must not index on any hop: whoever sent them said so (RFC 7541 §6.2.3). */
  neverIndexed?: ReadonlySet<string>;
  /**
   * "" for a request. Else the lower-case protocol that the client wants the connection, or its HTTP/2 stream, to change to
   * (RFC 9110 §7.8, RFC 8441), or "tcp" for a connection without HTTP: then the request's body is what the client sends into
   * the tunnel, and must not be read before a response with status 101 has opened it; the body of that response is what
   * the client receives. Every other status is an ordinary response.
   */
  upgrade: string;
}

/** The head of a response, independent of the codec. Same rules as RequestHead. */
export interface ResponseHead {
  status: number;
  /** Reason phrase as received; may be empty. */
  reason: string;
  readonly version: HttpVersion;
  headers: Headers;
  neverIndexed?: ReadonlySet<string>;
}

/** A response that the proxy makes itself. */
export interface LocalReply {
  readonly head: ResponseHead;
  readonly body: Buffer;
}
