import { constants } from "node:crypto";
import { createSecureContext, type SecureContext, type SecureContextOptions, type Server } from "node:tls";
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
export function serverTlsOptions(svid: Svid): MeshServerOptions {
  return {
    ...contextOptions(svid),
    requestCert: true,
    rejectUnauthorized: true,
    handshakeTimeout: handshakeTimeoutMs,
  };
}

/**
 * For each new connection. No name is checked by TLS, since a service is known by its SPIFFE id and not by an address: the
 * caller must call verifyPeer on "secureConnect" before it writes a byte.
 */
export function clientTlsOptions(svid: Svid): MeshClientOptions {
  return {
    secureContext: clientContext(svid),
    rejectUnauthorized: true,
    checkServerIdentity: () => undefined,
  };
}

/**
 * Serves each newer identity of `source` on `server`. Connections that are open keep theirs; only new handshakes see the new
 * one. An identity that OpenSSL refuses is reported to `onError` and the one in use stays.
 * @returns the function that ends following.
 */
export function followRotation(
  server: Pick<Server, "setSecureContext">,
  source: CertificateSource,
  onError: (error: unknown) => void,
): () => void {
  return source.watch((svid) => {
    if (svid === undefined) return;
    try {
      server.setSecureContext(contextOptions(svid));
    } catch (error: unknown) {
      onError(error);
    }
  });
}

/** One context per identity: making one costs a millisecond, and a connection needs it at once. */
const clientContexts = new WeakMap<Svid, SecureContext>();

function clientContext(svid: Svid): SecureContext {
  const known = clientContexts.get(svid);
  if (known !== undefined) return known;
  const context = createSecureContext(contextOptions(svid));
  clientContexts.set(svid, context);
  return context;
}

function contextOptions(svid: Svid): SecureContextOptions {
  return {
    key: svid.keyPem,
    cert: svid.certChainPem,
    ca: svid.bundlePem, // replaces the public roots: nobody outside the mesh is trusted
    minVersion: "TLSv1.3",
    ciphers,
    honorCipherOrder: true,
    // Without tickets no session is resumed: resuming skips the chain check, so a certificate that has expired, or a root
    // that was removed, would live on. Pools make handshakes rare enough not to miss it.
    secureOptions: constants.SSL_OP_NO_TICKET,
  };
}
