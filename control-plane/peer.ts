import type { ServerUnaryCall } from "@grpc/grpc-js";
import { CertificateError } from "../certs/certificate-error.js";
import { parseCertificate } from "../certs/certificate.js";
import { parseSpiffeId, type SpiffeId } from "../certs/spiffe-id.js";
import { svidIdentityOfDer } from "../certs/svid-rules.js";

/** Who is at the other end of a gRPC call. */
export interface Peer {
  /** SPIFFE id of the verified client certificate; undefined when none was presented. */
  readonly id: string | undefined;
  /** The same id, taken apart. */
  readonly identity: SpiffeId | undefined;
  /** Begin and end of that certificate's life, Unix milliseconds. */
  readonly certificateNotBeforeMs: number | undefined;
  readonly certificateNotAfterMs: number | undefined;
  /** Serial of that certificate, hexadecimal. */
  readonly certificateSerial: string | undefined;
  /** Key id of the CA that signed it, hexadecimal. */
  readonly certificateIssuer: string | undefined;
  /** IP literal, without the port. */
  readonly address: string;
}

/** What every server call of grpc-js offers about its connection. */
export type PeerCall = Pick<ServerUnaryCall<unknown, unknown>, "getPeer" | "getAuthContext">;

export type PeerOf = (call: PeerCall) => Peer;

/**
 * Reads the identity from the connection that carries the call. The listener has verified the certificate before the
 * first gRPC byte, and grpc-js offers it only when node:tls accepted the chain too; the id is read from its DER, never
 * from Node's subjectaltname text (CVE-2021-44532).
 */
export const peerOf: PeerOf = (call) => {
  const address = addressOf(call.getPeer());
  const der = certificateOf(call);
  const found = der === undefined ? undefined : svidIdentityOfDer(der);
  const identity = found?.ok === true ? serviceOf(found.id) : undefined;
  if (der === undefined || found?.ok !== true || identity === undefined) return { ...anonymous, address };
  const { notBeforeMs, notAfterMs, serial, authorityKeyId } = parseCertificate(der);
  return {
    id: found.id,
    identity,
    certificateNotBeforeMs: notBeforeMs,
    certificateNotAfterMs: notAfterMs,
    certificateSerial: serial,
    certificateIssuer: authorityKeyId?.toString("hex"),
    address,
  };
};

/** undefined for a SPIFFE id that names no service of a mesh: the CA never made one, so it has no rights here. */
function serviceOf(id: string): SpiffeId | undefined {
  try {
    return parseSpiffeId(id);
  } catch (error: unknown) {
    if (error instanceof CertificateError) return undefined;
    throw error;
  }
}

/** grpc-js throws for a connection that is gone by now: who has left is nobody. */
function certificateOf(call: PeerCall): Buffer | undefined {
  try {
    return call.getAuthContext()?.sslPeerCertificate?.raw;
  } catch {
    return undefined;
  }
}

const anonymous = {
  id: undefined,
  identity: undefined,
  certificateNotBeforeMs: undefined,
  certificateNotAfterMs: undefined,
  certificateSerial: undefined,
  certificateIssuer: undefined,
};

/** grpc-js writes `<address>:<port>`, IPv6 without brackets. */
function addressOf(peer: string): string {
  const colon = peer.lastIndexOf(":");
  return colon === -1 ? peer : peer.slice(0, colon);
}
