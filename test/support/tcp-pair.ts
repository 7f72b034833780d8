/** Raw TCP through two sidecars in this process: client -> web's local port -> mTLS -> api's inbound port -> application. */
import net, { type AddressInfo, type Socket } from "node:net";
import type { Test } from "tap";
import type { InboundConfig } from "../../src/config/inbound-config.js";
import type { ClusterConfig, Snapshot } from "../../src/config/snapshot.js";
import { exampleEndpoint, exampleSnapshot } from "./example-snapshot.js";
import { RawPeer } from "./raw-client.js";
import { startFromDisk, type KitSidecar } from "./sidecar-kit.js";

export interface TcpPairOptions {
  /** Called for each connection that the application accepts. */
  readonly onConnection?: (peer: RawPeer) => void;
  readonly cluster?: Partial<ClusterConfig>;
  readonly inbound?: Partial<InboundConfig>;
  /** Further endpoints of api, by port; put before the real one. */
  readonly otherPorts?: readonly number[];
  readonly drainTimeoutMs?: number;
}

export interface TcpPair {
  readonly web: KitSidecar;
  readonly api: KitSidecar;
  /** Where web's application reaches api. */
  readonly port: number;
  /** Connections that the application of api has accepted. */
  readonly accepted: RawPeer[];
  readonly appPort: number;
  closeApp(): Promise<void>;
}

let version = 0;

/** A snapshot in which api speaks raw TCP. */
export function tcpSnapshot(
  ports: readonly number[],
  { cluster, inbound }: Pick<TcpPairOptions, "cluster" | "inbound"> = {},
): Snapshot {
  const snapshot = exampleSnapshot({ version: `tcp ${version++}` });
  return {
    ...snapshot,
    inbound: { ...snapshot.inbound, ...inbound },
    clusters: snapshot.clusters.map((config) => ({ ...config, protocol: "tcp", ...cluster })),
    endpoints: new Map([["api.default", ports.map((port) => exampleEndpoint(`api-${port}`, port))]]),
  };
}

/** A server on a free port; closed with the test, its connections too. */
export async function listen(
  t: Test,
  onSocket: (socket: Socket) => void,
): Promise<{ readonly port: number; close(): Promise<void> }> {
  const sockets = new Set<Socket>();
  const server = net.createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
    onSocket(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const close = (): Promise<void> =>
    new Promise((resolve) => {
      server.close(() => resolve());
      for (const socket of sockets) socket.destroy();
    });
  t.teardown(close);
  return { port: (server.address() as AddressInfo).port, close };
}

export async function openTcpPair(t: Test, options: TcpPairOptions = {}): Promise<TcpPair> {
  const accepted: RawPeer[] = [];
  const app = await listen(t, (socket) => {
    const peer = new RawPeer(socket);
    accepted.push(peer);
    options.onConnection?.(peer);
  });
  const api = await startFromDisk(t, "api", {
    protocol: "tcp",
    appPort: app.port,
    saved: tcpSnapshot([], { inbound: options.inbound ?? {} }),
    drainTimeoutMs: options.drainTimeoutMs ?? 2000,
  });
  const ports = [...(options.otherPorts ?? []), api.ports.inbound];
  const web = await startFromDisk(t, "web", {
    saved: tcpSnapshot(ports, { cluster: options.cluster ?? {} }),
    upstreams: [{ service: "api", port: 0 }],
  });
  const port = web.ports.upstreams.get("api") ?? 0;
  return { web, api, port, accepted, appPort: app.port, closeApp: () => app.close() };
}
