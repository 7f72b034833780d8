import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import type { TLSSocket } from "node:tls";
import type { HostPort } from "../../src/discovery/host-port.js";
import type { CertificateSource, Svid } from "../../src/identity/svid.js";
import { formatAddress, listenError } from "../listen-address.js";
import type { OwnBundle } from "./own-bundle.js";

/** A bundle endpoint of the profile https_spiffe: our bundle for everybody, under our own SVID. */
export interface BundleEndpoint {
  /** host:port as bound. */
  readonly address: string;
  close(): Promise<void>;
}

/** Other control planes look every few minutes. */
const maxConnections = 256;

/**
 * Opens the endpoint. It asks nobody who he is (SPIFFE Federation §5.2.2.3): what it says is public.
 * @throws ConfigError when the port cannot be opened.
 */
export async function openBundleEndpoint(options: {
  readonly listen: HostPort;
  readonly certificates: CertificateSource;
  readonly bundle: OwnBundle;
  readonly onError: (error: unknown) => void;
}): Promise<BundleEndpoint> {
  const { listen, certificates, bundle, onError } = options;
  const svid = certificates.get();
  if (svid === undefined) throw new Error("the control plane has no certificate yet");
  const server = createServer(
    {
      ...contextOf(svid),
      ALPNProtocols: ["http/1.1"],
      handshakeTimeout: 10_000,
      headersTimeout: 10_000,
      requestTimeout: 10_000,
      keepAliveTimeout: 5000,
      maxHeaderSize: 8192,
    },
    (request, response) => {
      request.resume();
      const isRead = request.method === "GET" || request.method === "HEAD";
      if (!isRead) return void response.writeHead(405, { allow: "GET, HEAD" }).end();
      if (request.url !== "/") return void response.writeHead(404).end();
      bundle.text().then(
        (text) => response.writeHead(200, { "content-type": "application/json" }).end(text),
        (error: unknown) => {
          onError(error);
          response.writeHead(500).end();
        },
      );
    },
  );
  server.maxConnections = maxConnections;
  server.on("tlsClientError", (_error: Error, socket: TLSSocket) => socket.destroy());
  const stop = certificates.watch((next) => {
    if (next !== undefined) server.setSecureContext(contextOf(next));
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", (error: NodeJS.ErrnoException) =>
      reject(listenError(error, listen.text, "--federation-listen")),
    );
    server.listen(listen.port, listen.host, resolve);
  });
  server.removeAllListeners("error");
  server.on("error", onError);
  return {
    address: formatAddress(server.address() as AddressInfo),
    async close() {
      stop();
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      await closed;
    },
  };
}

/** Others than Remora read bundles: TLS 1.2 is allowed, as SPIFFE Federation §5 asks for. */
function contextOf({ keyPem, certChainPem }: Svid) {
  return { key: keyPem, cert: certChainPem, minVersion: "TLSv1.2" as const };
}
