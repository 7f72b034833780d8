import { ChannelCredentials } from "@grpc/grpc-js";
import type { ChannelOptions } from "@grpc/grpc-js";
import { createSecureContext, type PeerCertificate } from "node:tls";
import { fingerprint, splitPemCertificates } from "../../certs/bundle.js";
import { refusalTexts } from "../../certs/certificate-error.js";
import { parseCertificate } from "../../certs/certificate.js";
import { formatSpiffeId, type SpiffeId } from "../../certs/spiffe-id.js";
import { svidIdentityOfDer } from "../../certs/svid-rules.js";
import { consulControlPlaneName, controlPlaneName } from "./proto/enrollment.js";

/**
 * Server name of the TLS handshake: the control plane is known by its SPIFFE id, and RFC 6066 §3 allows no IP address
 * there, which is what operators mostly write.
 */
export const controlPlaneServerName = "control-plane.remora";

/**
 * Server name of a client that knows this one root only: while two are believed, the control plane then shows the certificate
 * that leads to it. Others, and older ones, show what they have.
 */
export function rootServerName(rootFingerprint: string): string {
  return `${rootFingerprint.slice(0, 40)}.${controlPlaneServerName}`;
}

/** The server name for a client that believes these roots. */
export function serverNameFor(bundlePem: string): string {
  const [root, ...others] = splitPemCertificates(bundlePem);
  return root === undefined || others.length > 0 ? controlPlaneServerName : rootServerName(fingerprint(root));
}

/** Options of a channel for a client that believes these roots. */
export function channelOptionsFor(bundlePem: string): ChannelOptions {
  return { ...controlPlaneChannelOptions, "grpc.ssl_target_name_override": serverNameFor(bundlePem) };
}

/** Key and certificate chain of the client, PEM. */
export interface ClientKey {
  readonly keyPem: string;
  readonly certChainPem: string;
}

/**
 * The id that the control plane must prove: of our trust domain, and with Consul's CA of our datacenter too. That CA has no
 * namespaces of ours, so there the whole name is the service's.
 */
export function controlPlaneId({
  trustDomain,
  datacenter,
}: Pick<SpiffeId, "trustDomain" | "datacenter">): string {
  if (datacenter === undefined) return formatSpiffeId({ trustDomain, ...controlPlaneName });
  return formatSpiffeId({ trustDomain, namespace: "default", datacenter, service: consulControlPlaneName });
}

/**
 * gRPC credentials towards the control plane: TLS 1.3, the chain must lead to `bundlePem`, and the id must be exactly the
 * control plane's; any other certificate of the mesh is refused.
 *
 * @param key undefined before the first certificate was issued.
 * @param revoked serials that are refused, read at each handshake.
 */
export function controlPlaneCredentials(
  bundlePem: string,
  place: Pick<SpiffeId, "trustDomain" | "datacenter">,
  key: ClientKey | undefined,
  revoked: () => ReadonlySet<string> | undefined = () => undefined,
): ChannelCredentials {
  const expected = controlPlaneId(place);
  const secureContext = createSecureContext({
    ca: bundlePem, // replaces the public roots
    minVersion: "TLSv1.3",
    ...(key === undefined ? {} : { key: key.keyPem, cert: key.certChainPem }),
  });
  return ChannelCredentials.createFromSecureContext(secureContext, {
    checkServerIdentity: (_host: string, peer: PeerCertificate): Error | undefined => {
      const found = svidIdentityOfDer(peer.raw);
      if (!found.ok) return new Error(`control plane's certificate: ${refusalTexts[found.reason]}`);
      if (revoked()?.has(serialOf(peer)) === true)
        return new Error(`control plane's certificate: ${refusalTexts.revoked}`);
      return found.id === expected
        ? undefined
        : new Error(`the server is ${found.id}, not the control plane ${expected}`);
    },
  });
}

/** As Svid.serial. */
function serialOf({ raw }: PeerCertificate): string {
  return parseCertificate(raw).serial;
}

/** Options of every channel to the control plane. */
export const controlPlaneChannelOptions: ChannelOptions = {
  "grpc.ssl_target_name_override": controlPlaneServerName,
  // A dead link is noticed within 15 s also when nothing is sent.
  "grpc.keepalive_time_ms": 10_000,
  "grpc.keepalive_timeout_ms": 5000,
  "grpc.keepalive_permit_without_calls": 1,
  "grpc.initial_reconnect_backoff_ms": 100,
  "grpc.max_reconnect_backoff_ms": 1000,
  "grpc.max_receive_message_length": 64 * 1024 * 1024,
  // The control plane is inside: HTTP_PROXY of the environment is for the application.
  "grpc.enable_http_proxy": 0,
  "grpc.enable_channelz": 0,
  "grpc.service_config_disable_resolution": 1,
  // Closing a channel then closes its connection; the global pool keeps it for 30 s.
  "grpc.use_local_subchannel_pool": 1,
};
