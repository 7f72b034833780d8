import { Server, ServerCredentials, type ServiceDefinition } from "@grpc/grpc-js";
import { createServer, type Socket } from "node:net";
import type { CertificateSource } from "../identity/svid.js";
import type { LatestValue } from "../lifecycle/latest-value.js";
import type { Clock } from "../time/clock.js";
import type { WorkloadTrust } from "./answers.js";
import { workloadHandlers, type FetchJwt } from "./handlers.js";
import { listenLocally } from "./local-socket.js";
import { workloadService } from "./protocol.js";
import { requireSecurityHeader } from "./security-header.js";

export interface WorkloadApiOptions {
  /** Path of the unix socket. */
  readonly socketPath: string;
  readonly certificates: CertificateSource;
  readonly trust: Pick<LatestValue<WorkloadTrust>, "get" | "watch">;
  readonly fetchJwt: FetchJwt;
  readonly clock: Clock;
}

/** A running SPIFFE Workload API. */
export interface WorkloadApi {
  /** Ends every stream and takes the socket away. */
  close(): Promise<void>;
}

/** An application has one or two; what a leak opens must not cost the sidecar its descriptors. */
const maxConnections = 64;
const maxStreams = 32;
/** Requests hold an audience or a token. */
const maxRequestBytes = 64 * 1024;

/**
 * Serves the SPIFFE Workload API on a unix socket to every process of this user: the identity of the one service that this
 * sidecar stands beside, its trust, and JWT-SVIDs.
 *
 * @throws ConfigError when the socket cannot be opened.
 */
export async function openWorkloadApi(options: WorkloadApiOptions): Promise<WorkloadApi> {
  const grpc = new Server({
    interceptors: [requireSecurityHeader],
    "grpc.max_receive_message_length": maxRequestBytes,
    "grpc.max_concurrent_streams": maxStreams,
    "grpc.enable_channelz": 0,
  });
  grpc.addService(workloadService as unknown as ServiceDefinition, workloadHandlers(options));
  const injector = grpc.createConnectionInjector(ServerCredentials.createInsecure());
  const sockets = new Set<Socket>();
  const listener = createServer((socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
    socket.on("error", () => socket.destroy());
    injector.injectConnection(socket);
  });
  listener.maxConnections = maxConnections;
  const removeSocket = await listenLocally(listener, options.socketPath);
  return {
    async close() {
      await removeSocket();
      const closed = new Promise((resolve) => listener.close(resolve));
      grpc.forceShutdown();
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}
