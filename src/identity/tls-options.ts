import { constants } from "node:crypto";
import { createSecureContext, type SecureContext, type SecureContextOptions, type Server } from "node:tls";
import { trustOfSvid, type MeshTrust, type TrustSource } from "./mesh-trust.js";
import type { CertificateSource, Svid } from "./svid.js";

/**
 * Settings of a mesh listener for one identity, to be spread into `tls.createServer` next to `ALPNProtocols`. TLS proves
 * that a certificate of the bundle is there; who it is, verifyPeer tells after the handshake.
 */
export interface MeshServerOptions extends SecureContextOptions {
  readonly requestCert: true;
  readonly rejectUnauthorized: true;
  readonly handshakeTimeout: number;
}

/** Settings of a connection to a mesh peer, to be spread into `tls.connect` next to address and `ALPNProtocols`. */
export interface MeshClientOptions {
  readonly secureContext: SecureContext;
  readonly rejectUnauthorized: true;
  readonly checkServerIdentity: () => undefined;
}

/** node's default of 120 s lets a silent client hold a socket for two minutes; a slow honest handshake takes 2 s. */
const handshakeTimeoutMs = 10_000;

/** Put the cheapest first: with AES instructions, which every server CPU has, AES-128 costs the least. */
const ciphers = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256";

/** For the listener's start; followRotation keeps it up to date. */
export function serverTlsOptions(svid: Svid, trust: MeshTrust = trustOfSvid(svid)): MeshServerOptions {
  return {
    ...contextOptions(svid, trust),
    requestCert: true,
    rejectUnauthorized: true,
    handshakeTimeout: handshakeTimeoutMs,
  };
}

/**
 * For each new connection. No name is checked by TLS, since a service is known by its SPIFFE id and not by an address: the
 * caller must call verifyPeer on "secureConnect" before it writes a byte.
 */
export function clientTlsOptions(svid: Svid, trust?: MeshTrust): MeshClientOptions {
  return {
    secureContext: secureContextOf(svid, trust),
    rejectUnauthorized: true,
    checkServerIdentity: () => undefined,
  };
}

/**
 * Serves each newer identity of `source` on `server`, and asks peers for certificates of the newest `trust`. Connections that
 * are open keep what they have (open-peers.ts closes those that must not); only new handshakes see the new one. An identity
 * that OpenSSL refuses is reported to `onError` and the one in use stays.
 * @returns the function that ends following.
 */
export function followRotation(
  server: Pick<Server, "setSecureContext">,
  source: CertificateSource,
  onError: (error: unknown) => void,
  trust?: Pick<TrustSource, "get" | "watch">,
): () => void {
  const renew = (): void => {
    const svid = source.get();
    if (svid === undefined) return;
    try {
      server.setSecureContext(contextOptions(svid, trust?.get() ?? trustOfSvid(svid)));
    } catch (error: unknown) {
      onError(error);
    }
  };
  const stops = [source.watch(renew), trust?.watch(renew)];
  return () => {
    for (const stop of stops) stop?.();
  };
}

interface ClientContext {
  readonly trust: MeshTrust | undefined;
  readonly context: SecureContext;
}

/** One context per identity and trust: making one costs a millisecond, and a connection needs it at once. */
const clientContexts = new WeakMap<Svid, ClientContext>();

/** Keys and roots of one identity, for either side of a connection. */
export function secureContextOf(svid: Svid, trust?: MeshTrust): SecureContext {
  const known = clientContexts.get(svid);
  if (known !== undefined && known.trust === trust) return known.context;
  const context = createSecureContext(contextOptions(svid, trust ?? trustOfSvid(svid)));
  clientContexts.set(svid, { trust, context });
  return context;
}

function contextOptions(svid: Svid, trust: MeshTrust): SecureContextOptions {
  return {
    key: svid.keyPem,
    cert: svid.certChainPem,
    ca: [...trust.bundles.values()].join("\n"), // replaces the public roots: nobody outside the mesh is trusted
    minVersion: "TLSv1.3",
    ciphers,
    honorCipherOrder: true,
    // Without tickets no session is resumed: OpenSSL gives a number in their place, and nothing is kept under it. Resuming skips
    // the chain check, so a certificate that has expired, or a root that was removed, would live on. Pools make handshakes rare
    // enough not to miss it.
    secureOptions: constants.SSL_OP_NO_TICKET,
  };
}
