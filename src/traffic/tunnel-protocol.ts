/**
 * Lower-case name of the protocol that a client may change to (RFC 9110 §7.8, RFC 8441), or "" for one that may not be
 * asked for: HTTP and TLS would tunnel requests past every policy, "tcp" is our own word for a connection without HTTP, and of
 * several protocols none is a safe choice.
 */
export function tunnelProtocol(text: string): string {
  const protocol = text.toLowerCase();
  return oneProtocol.test(protocol) ? protocol : "";
}

const oneProtocol = /^(?!h2|http|tls|tcp$)[\w!#$%&'*+.^`|~-]+(?:\/[\w!#$%&'*+.^`|~-]+)?$/;
