import type { ClusterConfig, EndpointConfig } from "./config/snapshot.js";
import type { CertificateSource } from "./identity/svid.js";
import { clientTlsOptions } from "./identity/tls-options.js";
import { verifyPeer } from "./identity/verify-peer.js";
import { Http1ClientConnection } from "./http1/client-connection.js";
import { http1Limits } from "./http1/limits.js";
import { meshDialer, plainDialer, type Dialer } from "./pool/dialer.js";
import { Http1Pool } from "./pool/http1-pool.js";
import type { EndpointTransport } from "./stack/endpoint.js";
import type { ClusterMetrics } from "./telemetry/cluster-metrics.js";
import { confirmedDialer, confirmedTcp } from "./tcp/confirmed-dialer.js";
import { TcpTransport } from "./tcp/tcp-transport.js";
import type { Clock } from "./time/clock.js";
import type { TimerWheel } from "./time/timer-wheel.js";

export interface TransportOptions {
  readonly certificates: CertificateSource;
  readonly trustDomain: string;
  readonly clock: Clock;
  readonly wheel: TimerWheel;
  readonly metrics: (cluster: string) => ClusterMetrics;
}

/** Connections to one endpoint of a cluster: mTLS to exactly the cluster's identity, or plaintext where it has no sidecar. */
export function upstreamTransport(
  cluster: ClusterConfig,
  endpoint: EndpointConfig,
  options: TransportOptions,
): EndpointTransport {
  const { certificates, trustDomain, clock, wheel, metrics } = options;
  const { connectTimeoutMs, identities, maxConnections, maxPendingRequests, poolIdleMs, name } = cluster;
  const target = { address: endpoint.address, port: endpoint.port, connectTimeoutMs };
  const isTcp = cluster.protocol === "tcp";
  const isPlain = !endpoint.meshed || cluster.mtlsMode === "DISABLE";
  const dialer = isPlain
    ? plainDialer(target, wheel)
    : meshDialer(target, wheel, {
        options: () => {
          const svid = certificates.get();
          if (svid === undefined) return undefined;
          return { ...clientTlsOptions(svid), ALPNProtocols: [isTcp ? confirmedTcp : "http/1.1"] };
        },
        refusal: (socket) => {
          const peer = verifyPeer(socket, identities, trustDomain);
          return peer.ok ? undefined : `${peer.reason}, expected ${identities.join(" or ")}`;
        },
      });
  const peer = `cluster ${name}, ${endpoint.address}:${endpoint.port}`;
  const countedDialer = counted(dialer, metrics(name));
  if (isTcp) {
    const confirmed = confirmedDialer(countedDialer, { name: peer, timeoutMs: connectTimeoutMs, wheel });
    return new TcpTransport({ name: peer, dialer: confirmed, maxConnections });
  }
  return new Http1Pool({
    name: peer,
    dialer: countedDialer,
    connect: (socket, owner) => new Http1ClientConnection(socket, peer, http1Limits, owner),
    clock,
    wheel,
    maxConnections,
    maxPendingRequests,
    poolIdleMs,
  });
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
