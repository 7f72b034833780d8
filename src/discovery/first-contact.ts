import { connect, type TLSSocket } from "node:tls";
import { fingerprint, toPem } from "../../certs/bundle.js";
import { CertificateError } from "../../certs/certificate-error.js";
import { parseCertificate } from "../../certs/certificate.js";
import { splitSpiffeUri } from "../../certs/spiffe-id.js";
import { ConfigError } from "../errors/config-error.js";
import { presentedChain } from "../identity/presented-chain.js";
import type { Clock } from "../time/clock.js";
import { clockFailure, connectFailure } from "./connect-failure.js";
import { rootServerName } from "./control-plane-tls.js";
import type { HostPort } from "./host-port.js";

/** A root that the join token vouches for. */
export interface PinnedRoot {
  readonly rootPem: string;
  readonly trustDomain: string;
}

/**
 * Fetches the control plane's root certificate, which is trusted only because of its fingerprint: from the join token, or given.
 * Nothing is sent on this connection: the token travels on a second one, which is verified against this root.
 *
 * @throws ConfigError when nobody answers within `timeoutMs`, or the root is another one.
 */
export async function fetchPinnedRoot(
  target: HostPort,
  rootFingerprint: string,
  options: {
    readonly clock: Clock;
    readonly timeoutMs: number;
    /** Where the fingerprint is from, for the error. Default: the join token. */
    readonly pin?: string;
  },
): Promise<PinnedRoot> {
  const socket = await handshake(target, rootServerName(rootFingerprint), options);
  try {
    const root = presentedChain(socket).find((der) => fingerprint(der) === rootFingerprint);
    if (root === undefined)
      throw new ConfigError(
        `control plane ${target.text} does not belong to this ${options.pin ?? "join token"} (its root CA has another fingerprint): use one of that control plane, or correct --control-plane`,
      );
    return { rootPem: toPem("CERTIFICATE", root), trustDomain: trustDomainOf(root) };
  } finally {
    // After the last flight of the handshake is out: else the server sees a client that broke off.
    socket.end(() => socket.destroy());
  }
}

function handshake(
  target: HostPort,
  servername: string,
  options: { readonly clock: Clock; readonly timeoutMs: number },
): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const socket = connect({
      host: target.host,
      port: target.port,
      servername,
      ALPNProtocols: ["h2"],
      minVersion: "TLSv1.3",
      rejectUnauthorized: false, // the fingerprint decides, not a chain
    });
    const fail = (error: Error): void => {
      timer.cancel();
      socket.destroy();
      reject(new FirstContactError(unreachable(target, error).message, { cause: error }));
    };
    const timer = options.clock.timer(options.timeoutMs, () =>
      fail(new Error(`no answer within ${options.timeoutMs} ms`)),
    );
    // Stays for the socket's life: an error after the handshake must not end the process.
    socket.on("error", fail);
    socket.once("secureConnect", () => {
      timer.cancel();
      resolve(socket);
    });
  });
}

/** Nothing was used up: it may be tried again. */
export class FirstContactError extends ConfigError {}

/** One line with cause and fix. */
export function unreachable(target: HostPort, cause: Error): ConfigError {
  const { code } = cause as NodeJS.ErrnoException;
  // grpc-js hands on only the text.
  const clocks = clockFailure(cause.message);
  if (clocks !== undefined) return new ConfigError(`control plane ${target.text}: ${clocks}`, { cause });
  const isTls = code?.startsWith("ERR_SSL") === true || code === "EPROTO";
  const why = isTls ? "it does not speak TLS 1.3" : (code ?? connectFailure(cause.message));
  return new ConfigError(
    `control plane ${target.text} is unreachable (${why}): start it with remora control-plane, or correct --control-plane`,
    { cause },
  );
}

/** X509-SVID §3.1: a CA's URI SAN is its trust domain. */
function trustDomainOf(root: Buffer): string {
  const uri = parseCertificate(root).subjectAltNames.find((name) => name.type === "uri");
  if (uri === undefined) throw new CertificateError("no_uri_san", "the root CA");
  return splitSpiffeUri(uri.value).trustDomain;
}
