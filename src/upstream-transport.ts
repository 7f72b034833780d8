import type { Socket } from "node:net";
import type { ClusterConfig, EndpointConfig } from "./config/snapshot.js";
import type { TrustSource } from "./identity/mesh-trust.js";
import type { OpenPeers } from "./identity/open-peers.js";
import type { CertificateSource } from "./identity/svid.js";
import { clientTlsOptions } from "./identity/tls-options.js";
import { verifyPeer } from "./identity/verify-peer.js";
import { Http1ClientConnection } from "./http1/client-connection.js";
import { http1Limits } from "./http1/limits.js";
import { Http2ClientConnection } from "./http2/client-connection.js";
import { http2Limits, meshHttp2Limits, type LimitMeter } from "./http2/limits.js";
import { meshDialer, plainDialer, type Dialer } from "./pool/dialer.js";
import { Http1Pool } from "./pool/http1-pool.js";
import { Http2Pool } from "./pool/http2-pool.js";
import { meshAlpn, NegotiatedPool, type NegotiatedPoolOptions } from "./pool/negotiated-pool.js";
import { isForeign, offeredAlpn, speaksHttp2 } from "./proxy/foreign-peers.js";
import type { EndpointTransport } from "./stack/endpoint.js";
import type { ClusterMetrics } from "./telemetry/cluster-metrics.js";
import { confirmedDialer, confirmedTcp } from "./tcp/confirmed-dialer.js";
import { TcpTransport } from "./tcp/tcp-transport.js";
import type { Clock } from "./time/clock.js";
import type { TimerWheel } from "./time/timer-wheel.js";

export interface TransportOptions {
  readonly certificates: CertificateSource;
  readonly trust: TrustSource;
  readonly peers: OpenPeers;
  /** Why nobody may connect to an endpoint, whatever the registry says; undefined: everybody may. */
  readonly refuse: (endpoint: EndpointConfig) => string | undefined;
  /** Peers may be Consul's own proxies. */
  readonly hasForeignPeers: boolean;
  readonly clock: Clock;
  readonly wheel: TimerWheel;
  readonly metrics: (cluster: string) => ClusterMetrics;
  readonly onLimit: LimitMeter;
}

/**
 * Connections to one endpoint of a cluster: mTLS to exactly the cluster's identity, or plaintext where it has no sidecar.
 * Sidecars are asked for HTTP/2, whatever their applications speak; without one it is the application that must be spoken to.
 */
export function upstreamTransport(
  cluster: ClusterConfig,
  endpoint: EndpointConfig,
  options: TransportOptions,
): EndpointTransport {
  const { certificates, trust, peers, wheel, metrics, hasForeignPeers } = options;
  const { connectTimeoutMs, identities, maxConnections, name, protocol } = cluster;
  const forbidden = options.refuse(endpoint);
  const target = { address: endpoint.address, port: endpoint.port, connectTimeoutMs, forbidden };
  const isTcp = protocol === "tcp";
  const ownAlpn = isTcp ? [confirmedTcp] : [...meshAlpn];
  const isPlain = !endpoint.meshed || cluster.mtlsMode === "DISABLE";
  const dialer = isPlain
    ? plainDialer(target, wheel)
    : meshDialer(target, wheel, {
        options: () => {
          const svid = certificates.get();
          if (svid === undefined) return undefined;
          const tls = clientTlsOptions(svid, trust.get());
          return { ...tls, ALPNProtocols: hasForeignPeers ? offeredAlpn(protocol) : ownAlpn };
        },
        refusal: (socket) => {
          const peer = verifyPeer(socket, identities, trust.get());
          if (!peer.ok) return `${peer.reason}, expected ${identities.join(" or ")}`;
          peers.add(socket, peer);
          return undefined;
        },
      });
  const peer = `cluster ${name}, ${endpoint.address}:${endpoint.port}`;
  const countedDialer = counted(dialer, metrics(name));
  if (isTcp) {
    const confirmed = confirmedDialer(countedDialer, { name: peer, timeoutMs: connectTimeoutMs, wheel });
    return new TcpTransport({ name: peer, dialer: confirmed, maxConnections });
  }
  const pools = httpPools(cluster, peer, !isPlain, options);
  const isHttp2 = (socket: Socket): boolean => speaksHttp2(socket, protocol);
  if (!isPlain)
    return new NegotiatedPool({ dialer: countedDialer, ...pools, ...(hasForeignPeers && { isHttp2 }) });
  return protocol === "http" ? pools.http1(countedDialer) : pools.http2(countedDialer);
}

function httpPools(
  cluster: ClusterConfig,
  peer: string,
  isMeshed: boolean,
  { clock, wheel, metrics, onLimit, hasForeignPeers }: TransportOptions,
): Pick<NegotiatedPoolOptions, "http1" | "http2"> {
  const { maxConnections, maxPendingRequests, maxConcurrentStreams, maxRequestsPerConnection, poolIdleMs } =
    cluster;
  const cells = metrics(cluster.name);
  const common = { name: peer, clock, wheel, maxConnections, maxPendingRequests, maxRequestsPerConnection };
  return {
    http1: (dialer) =>
      new Http1Pool({
        ...common,
        dialer,
        poolIdleMs,
        connect: (socket, owner) => {
          cells.http1Connections.value++;
          return new Http1ClientConnection(socket, peer, http1Limits, owner);
        },
      }),
    http2: (dialer) =>
      new Http2Pool({
        ...common,
        dialer,
        maxConcurrentStreams,
        connect: (socket, owner) => {
          cells.http2Connections.value++;
          const isMesh = isMeshed && !(hasForeignPeers && isForeign(socket));
          const limits = isMesh ? meshHttp2Limits : http2Limits;
          return new Http2ClientConnection(socket, { peer, limits, clock, wheel, isMesh, onLimit, owner });
        },
      }),
  };
}

function counted(dialer: Dialer, cells: ClusterMetrics): Dialer {
  return {
    dial: (onConnected, onFailed) =>
      dialer.dial(
        (socket) => {
          cells.connections.value++;
          cells.connectionsActive.value++;
          socket.once("close", () => cells.connectionsActive.value--);
          onConnected(socket);
        },
        (error) => {
          cells.connectFailures.value++;
          onFailed(error);
        },
      ),
  };
}
