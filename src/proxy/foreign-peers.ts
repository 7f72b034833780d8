/**
 * A mesh in which some peers are other proxies. Consul's built-in proxy chooses `h2` in every handshake that offers it and
 * offers it in its own, whatever bytes it then carries, so those names say nothing there: sidecars of ours know each other by
 * names that nobody else has.
 */
import type { Socket } from "node:net";
import type { TLSSocket } from "node:tls";
import type { Protocol } from "../config/snapshot.js";
import { confirmedTcp } from "../tcp/confirmed-dialer.js";

/** HTTP/2 between two sidecars of ours. */
const ourHttp2 = "remora-h2";

/** What a listener takes, best first. */
export const acceptedAlpn: readonly string[] = [confirmedTcp, ourHttp2, "h2", "http/1.1"];

/** What connections to a service offer. The last ones are for proxies that refuse a handshake without a name they know. */
export function offeredAlpn(protocol: Protocol): string[] {
  return protocol === "tcp" ? [confirmedTcp, "h2"] : [ourHttp2, "h2", "http/1.1"];
}

/** A proxy that is none of ours: what it carries is what its application says. */
export function isForeign(socket: Socket): boolean {
  const { alpnProtocol } = socket as TLSSocket;
  return alpnProtocol !== confirmedTcp && alpnProtocol !== ourHttp2;
}

/** Did the handshake choose HTTP/2, where its word counts? */
export function choseHttp2(socket: Socket): boolean {
  const { alpnProtocol } = socket as TLSSocket;
  return alpnProtocol === "h2" || alpnProtocol === ourHttp2;
}

/** Must HTTP/2 be spoken on a connection that offered `offeredAlpn`? Behind a foreign proxy it is the application that hears. */
export function speaksHttp2(socket: Socket, protocol: Protocol): boolean {
  return isForeign(socket) ? protocol !== "http" : true;
}
