import type { DetailedPeerCertificate, TLSSocket } from "node:tls";
import { maxChainLength } from "../../certs/verify.js";

/** DER of what a peer presented, leaf first, up to the length that an honest chain can have. */
export function presentedChain(socket: TLSSocket): readonly Buffer[] {
  const chain: Buffer[] = [];
  // Empty object when there is none; a root is its own issuer.
  let next: DetailedPeerCertificate | undefined = socket.getPeerCertificate(true);
  while (next?.raw !== undefined && chain.length < maxChainLength) {
    chain.push(next.raw);
    if (next.issuerCertificate === next) break;
    next = next.issuerCertificate;
  }
  return chain;
}
