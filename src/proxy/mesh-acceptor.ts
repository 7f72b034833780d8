import type { Socket } from "node:net";
import tls, { type TLSSocket } from "node:tls";
import type { MtlsMode } from "../config/snapshot.js";
import { ownRootOf, type TrustSource } from "../identity/mesh-trust.js";
import type { OpenPeers } from "../identity/open-peers.js";
import { servedCheckName } from "../identity/served-leaf.js";
import { followRotation, serverTlsOptions } from "../identity/tls-options.js";
import type { CertificateSource } from "../identity/svid.js";
import { handshakeRefusal, verifyPeer } from "../identity/verify-peer.js";
import { meshAlpn } from "../pool/negotiated-pool.js";
import { confirmedTcp } from "../tcp/confirmed-dialer.js";
import type { Clock } from "../time/clock.js";

export interface MeshAcceptorOptions {
  readonly certificates: CertificateSource;
  readonly trust: TrustSource;
  readonly peers: OpenPeers;
  /** Read for every new connection. */
  readonly mode: () => MtlsMode;
  /** The server may speak first: a silent client is no reason to wait. Read for every new connection. */
  readonly isServerFirst?: () => boolean;
  /** Names for the protocol in the handshake, best first; default those of sidecars. */
  readonly alpn?: readonly string[];
  readonly clock: Clock;
  /**
   * A verified peer's connection, or one without TLS where the mode permits it. Returns how it is ended gently, when its root
   * is replaced.
   */
  readonly onAccepted: (socket: Socket, peerId: string | undefined) => (() => void) | undefined;
  /** Why a peer was turned away; a bounded set of reasons. */
  readonly onRefused: (reason: string) => void;
}

/** First byte of a TLS record that carries a handshake (RFC 8446 §5.1). */
const tlsHandshake = 0x16;
const firstByteTimeoutMs = 10_000;
/**
 * PERMISSIVE and raw TCP: who says nothing for so long is a plaintext client that waits for a greeting. A mesh peer's first
 * byte comes one round trip after its connection; one that is slower than this is mistaken for plaintext and fails its
 * handshake. Under STRICT nobody waits.
 */
const serverFirstWaitMs = 100;

/**
 * The inbound side of mTLS: no byte of a peer reaches the application before its certificate and SPIFFE id were verified.
 */
export class MeshAcceptor {
  readonly #options: MeshAcceptorOptions;
  readonly #server: tls.Server;
  readonly #stopFollowing: () => void;
  /** Accepted, and not yet known who they are. Key: the peer's address and port. */
  readonly #unproven = new Map<string, Socket>();
  #onProven: (() => void)[] = [];
  #isClosed = false;

  /** The source must hold an identity by now. */
  constructor(options: MeshAcceptorOptions) {
    this.#options = options;
    const { certificates, trust } = options;
    const svid = certificates.get();
    if (svid === undefined) throw new Error("no identity yet");
    const ALPNProtocols = [...(options.alpn ?? [...meshAlpn, confirmedTcp])];
    this.#server = tls.createServer({ ...serverTlsOptions(svid, trust.get()), ALPNProtocols });
    this.#server.on("secureConnection", (socket) => this.#secured(socket));
    this.#server.on("tlsClientError", (error, socket) => {
      // Those that close() has cut off are no peer's fault.
      if (!this.#isClosed) options.onRefused(handshakeRefusal(error, socket) ?? "handshake_failed");
      socket.destroy();
    });
    const onError = (): void => options.onRefused("own_certificate");
    this.#stopFollowing = followRotation(this.#server, certificates, onError, trust);
  }

  /** Takes over an accepted TCP connection. */
  accept(socket: Socket): void {
    // Handshakes fail in many ways; none may reach the process.
    socket.on("error", () => socket.destroy());
    if (this.#isClosed) return void socket.destroy();
    const mode = this.#options.mode();
    if (mode === "DISABLE") return void this.#options.onAccepted(socket, undefined);
    const peer = peerAddress(socket);
    this.#unproven.set(peer, socket);
    socket.once("close", () => {
      if (this.#unproven.get(peer) === socket) this.#proven(peer);
    });
    if (mode === "STRICT") this.#server.emit("connection", socket);
    else this.#sniff(socket, peer);
  }

  /** Resolves when every peer accepted so far was handed over or turned away; handshakes are bounded in time. */
  settled(): Promise<void> {
    if (this.#unproven.size === 0) return Promise.resolve();
    return new Promise((resolve) => this.#onProven.push(resolve));
  }

  /** Cuts off whoever has not proven an identity yet. What was handed over stays open. */
  close(): void {
    this.#isClosed = true;
    this.#stopFollowing();
    for (const socket of [...this.#unproven.values()]) socket.destroy();
  }

  #proven(peer: string): void {
    if (!this.#unproven.delete(peer) || this.#unproven.size > 0) return;
    for (const resolve of this.#onProven.splice(0)) resolve();
  }

  #secured(socket: TLSSocket): void {
    const { certificates, trust, peers } = this.#options;
    const peer = verifyPeer(socket, undefined, trust.get());
    // An application of raw TCP would be connected to for nothing.
    if (peer.ok && (socket as { servername?: unknown }).servername === servedCheckName)
      socket.on("error", () => {}).destroySoon();
    else if (peer.ok) {
      const retire = this.#options.onAccepted(socket, peer.id);
      peers.add(socket, peer, { ownRoot: ownRootOf(certificates.get(), trust.get()), retire });
    } else {
      this.#options.onRefused(peer.reason);
      socket.on("error", () => {});
      socket.destroy();
    }
    this.#proven(peerAddress(socket));
  }

  /** PERMISSIVE: the first byte tells TLS from plaintext; HTTP clients speak first. */
  #sniff(socket: Socket, peer: string): void {
    const { clock, isServerFirst } = this.#options;
    const onReadable = (): void => {
      timer.cancel();
      const first = socket.read() as Buffer | null;
      if (first === null) return void socket.destroy();
      socket.unshift(first);
      if (first[0] === tlsHandshake) this.#server.emit("connection", socket);
      else this.#plain(socket, peer);
    };
    const timer =
      isServerFirst?.() === true
        ? clock.timer(serverFirstWaitMs, () => {
            socket.off("readable", onReadable);
            this.#plain(socket, peer);
          })
        : clock.timer(firstByteTimeoutMs, () => socket.destroy());
    socket.once("close", () => timer.cancel());
    socket.once("readable", onReadable);
  }

  #plain(socket: Socket, peer: string): void {
    this.#options.onAccepted(socket, undefined);
    this.#proven(peer);
  }
}

/** The same for a TCP connection and for the TLS connection on it. */
function peerAddress({ remoteAddress, remotePort }: Socket): string {
  return `${remoteAddress} ${remotePort}`;
}
