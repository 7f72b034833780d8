import { Server, ServerCredentials } from "@grpc/grpc-js";
import type { ServerInterceptor } from "@grpc/grpc-js";
import type { AddressInfo, Socket } from "node:net";
import { createServer, type Server as TlsServer, type TLSSocket } from "node:tls";
import type { RefusalReason } from "../certs/certificate-error.js";
import { parseCertificate } from "../certs/certificate.js";
import { parseSpiffeId } from "../certs/spiffe-id.js";
import type { HostPort } from "../src/discovery/host-port.js";
import { onlyOwn, trustOfSvid, type MeshTrust, type TrustSource } from "../src/identity/mesh-trust.js";
import { OpenPeers } from "../src/identity/open-peers.js";
import type { CertificateSource, Svid } from "../src/identity/svid.js";
import { followRotation, secureContextOf, serverTlsOptions } from "../src/identity/tls-options.js";
import { peerDer, verifyPeer } from "../src/identity/verify-peer.js";
import { LatestValue } from "../src/lifecycle/latest-value.js";
import type { Clock } from "../src/time/clock.js";
import { formatAddress, listenError } from "./listen-address.js";

export interface GrpcListenerOptions {
  readonly listen: HostPort;
  /** The control plane's own identity, its chain ending with the root; each newer one is served to new connections. */
  readonly certificates: CertificateSource;
  /** Serials of revoked leaves: open connections of one that is added end at once. */
  readonly revoked: LatestValue<ReadonlySet<string>>;
  /** Whom sidecars must be believed by; of other trust domains nobody is let in. Default: what the certificate came with. */
  readonly trust?: TrustSource;
  /** Another certificate for a client that knows another root; undefined: the usual one. */
  readonly identityFor?: (serverName: string) => Svid | undefined;
  readonly clock: Clock;
  readonly interceptors: readonly ServerInterceptor[];
  /** A connection was refused before any gRPC byte. */
  readonly onRefused: (refusal: ConnectionRefusal, address: string) => void;
}

export interface ConnectionRefusal {
  /** A bounded set, for metrics. */
  readonly reason: RefusalReason | "handshake_failed" | "no_http2" | "own_certificate";
  /** One line without secrets. */
  readonly detail: string;
}

/** The control plane's one gRPC port. */
export interface GrpcListener {
  /** Services are added before start(). */
  readonly server: Server;
  /** Opens the port. @returns host:port as bound. @throws ConfigError when it cannot be. */
  start(): Promise<string>;
  /** Ends every call and connection, then resolves. */
  close(): Promise<void>;
}

/** Config of a big mesh is megabytes on the way out; what sidecars send is small. */
const maxReceiveBytes = 4 * 1024 * 1024;
const maxConnections = 8192;
/** One Issue call takes milliseconds; without a certificate there is nothing else to do here. */
const anonymousLifetimeMs = 30_000;

/**
 * gRPC over mutual TLS 1.3. grpc-js' own server credentials either demand client certificates or do not look at them,
 * but joining needs "verified if presented": so a node:tls server does the handshake and the check, and hands accepted
 * sockets over.
 */
export function createGrpcListener(options: GrpcListenerOptions): GrpcListener {
  const svid = options.certificates.get();
  if (svid === undefined) throw new Error("the control plane has no certificate yet");
  const server = new Server({
    interceptors: [...options.interceptors],
    "grpc.max_receive_message_length": maxReceiveBytes,
    "grpc.max_concurrent_streams": 100,
    // A dead sidecar is noticed within 15 s: its stream is its registration.
    "grpc.keepalive_time_ms": 10_000,
    "grpc.keepalive_timeout_ms": 5000,
    "grpc.max_connection_idle_ms": 300_000,
    "grpc-node.max_session_memory": 64,
    "grpc.enable_channelz": 0,
  });
  const injector = server.createConnectionInjector(ServerCredentials.createInsecure());
  const trustDomain = parseSpiffeId(svid.id).trustDomain;
  const trust = ownTrust(options, svid, trustDomain);
  // Its root was taken away.
  const peers = new OpenPeers(trust, options.clock, (closed) => {
    for (const { id, reason } of closed) options.onRefused(ofCertificate(reason), id);
  });
  const sockets = new Set<Socket>();
  /** Serial of the client's certificate, by accepted connection. */
  const serials = new Map<TLSSocket, string>();
  const tls = createServer({
    ...serverTlsOptions(svid, trust.get()),
    rejectUnauthorized: false, // decided below: without a certificate a sidecar may join
    ALPNProtocols: ["h2"],
    SNICallback: (serverName, done) => {
      const other = options.identityFor?.(serverName);
      done(null, other === undefined ? undefined : secureContextOf(other, trust.get()));
    },
  });
  tls.maxConnections = maxConnections;
  tls.on("connection", (socket: Socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
  });
  tls.on("tlsClientError", (error, socket) => {
    socket.destroy();
    // Port checks leave in the middle of the handshake: nobody was refused.
    if ((error as NodeJS.ErrnoException).code === "ECONNRESET") return;
    const refusal = { reason: "handshake_failed", detail: error.message } as const;
    options.onRefused(refusal, socket.remoteAddress ?? "unknown");
  });
  tls.on("secureConnection", (socket) => {
    // Before anything else can fail on it.
    socket.on("error", () => socket.destroy());
    const verdict = admit(socket, trust.get(), peers, options);
    if (verdict.refusal === undefined) {
      if (verdict.serial !== undefined) remember(serials, socket, verdict.serial);
      return injector.injectConnection(socket);
    }
    options.onRefused(verdict.refusal, socket.remoteAddress ?? "unknown");
    socket.destroy();
  });
  const stopRevoking = options.revoked.watch((revoked) => {
    for (const [socket, serial] of serials) if (revoked.has(serial)) socket.destroy();
  });
  const onError = (error: unknown): void =>
    options.onRefused({ reason: "own_certificate", detail: `own certificate: ${String(error)}` }, "-");
  const stopFollowing = followRotation(tls, options.certificates, onError, trust);

  return {
    server,
    start: () => listen(tls, options.listen),
    async close() {
      stopFollowing();
      stopRevoking();
      peers.close();
      trust.close();
      const closed = new Promise((resolve) => tls.close(resolve));
      server.forceShutdown();
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}

/**
 * Only our own domain's roots, followed until close(). Without the revoked: theirs are refused call by call, so that they are
 * told why.
 */
function ownTrust({ trust, certificates }: GrpcListenerOptions, svid: Svid, trustDomain: string) {
  const read = (): MeshTrust => ({
    ...onlyOwn(trust?.get() ?? trustOfSvid(certificates.get() ?? svid), trustDomain),
    revoked: new Set(),
  });
  const own = new LatestValue(read());
  const stop = (trust ?? certificates).watch(() => own.set(read()));
  return Object.assign(own, { close: stop });
}

/** Why this connection is refused, or whose it is. Its life is bounded by what it presented. */
function admit(
  socket: TLSSocket,
  trust: MeshTrust,
  peers: OpenPeers,
  { clock, revoked }: Pick<GrpcListenerOptions, "clock" | "revoked">,
): { readonly refusal?: ConnectionRefusal; readonly serial?: string } {
  if (socket.alpnProtocol !== "h2")
    return { refusal: { reason: "no_http2", detail: "the client does not speak HTTP/2 (ALPN h2)" } };
  const der = peerDer(socket);
  if (der !== undefined) {
    // Before our reader sees it: a stranger's certificate may be anything.
    const verdict = verifyPeer(socket, undefined, trust);
    if (!verdict.ok) return { refusal: ofCertificate(verdict.reason) };
    peers.add(socket, verdict);
  }
  const certificate = der === undefined ? undefined : parseCertificate(der);
  // With a revoked one every call is refused (requireIdentity), so that its owner is told why.
  const isNobody = certificate === undefined || revoked.get().has(certificate.serial);
  // An expired certificate must not live on in a stream that was opened with it.
  const lifetimeMs = isNobody ? anonymousLifetimeMs : certificate.notAfterMs - clock.wallMs();
  const end = clock.timer(Math.max(0, lifetimeMs), () => socket.destroy());
  socket.once("close", () => end.cancel());
  return certificate === undefined ? {} : { serial: certificate.serial };
}

function ofCertificate(reason: RefusalReason): ConnectionRefusal {
  return { reason, detail: `client certificate: ${reason}` };
}

function remember(serials: Map<TLSSocket, string>, socket: TLSSocket, serial: string): void {
  serials.set(socket, serial);
  socket.once("close", () => serials.delete(socket));
}

function listen(tls: TlsServer, { host, port, text }: HostPort): Promise<string> {
  return new Promise((resolve, reject) => {
    tls.once("error", (error: NodeJS.ErrnoException) => reject(listenError(error, text, "--listen")));
    tls.listen(port, host, () => {
      tls.removeAllListeners("error");
      tls.on("error", () => undefined); // EMFILE on accept: node keeps the listener, the client tries again
      resolve(formatAddress(tls.address() as AddressInfo));
    });
  });
}
