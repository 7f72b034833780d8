import { request, type IncomingMessage } from "node:http";
import { connect, type ConnectionOptions, type TLSSocket } from "node:tls";
import { maxBundleBytes } from "../../certs/spiffe-bundle.js";
import { refusalTexts } from "../../certs/certificate-error.js";
import { splitSpiffeUri } from "../../certs/spiffe-id.js";
import { verifySvidChain } from "../../certs/verify.js";
import type { Clock } from "../../src/time/clock.js";
import type { Relationship } from "./relationship.js";

/** Another continent answers within a second. */
const timeoutMs = 10_000;
const maxChain = 8;

/**
 * Asks the endpoint of a relationship for its bundle, after it has proven who it is. Redirects are not followed.
 * @param rootsOf PEM roots of the trust domain that the endpoint's SPIFFE id is in; undefined when none are known.
 * @throws Error that says what went wrong.
 */
export async function fetchBundle(
  { endpoint, profile }: Relationship,
  options: { readonly rootsOf: (trustDomain: string) => string | undefined; readonly clock: Clock },
): Promise<string> {
  const url = new URL(endpoint);
  const { clock, rootsOf } = options;
  const isSpiffe = profile.kind === "https_spiffe";
  const host = url.hostname.replace(/^\[|\]$/g, "");
  const limit: { expired?: () => void } = {};
  const timer = clock.timer(timeoutMs, () => limit.expired?.());
  let socket: TLSSocket | undefined;
  try {
    socket = await handshake(
      {
        host,
        port: Number(url.port || 443),
        ...(/[a-z]/i.test(host) && !host.includes(":") && { servername: host }),
        minVersion: "TLSv1.2",
        ALPNProtocols: ["http/1.1"],
        // An X.509-SVID leads to no public root: it is verified below, before anything is sent.
        rejectUnauthorized: !isSpiffe,
      },
      limit,
    );
    if (isSpiffe) {
      const { trustDomain } = splitSpiffeUri(profile.endpointSpiffeId);
      const roots = rootsOf(trustDomain);
      if (roots === undefined)
        throw new Error(`there is no bundle of ${trustDomain}, which the endpoint is of`);
      const verdict = verifySvidChain(chainOf(socket), roots, { nowMs: clock.wallMs(), trustDomain });
      if (!verdict.ok) throw new Error(`the endpoint's certificate: ${refusalTexts[verdict.reason]}`);
      if (verdict.id !== profile.endpointSpiffeId)
        throw new Error(`the endpoint is ${verdict.id}, not ${profile.endpointSpiffeId}`);
    }
    return await read(socket, url, limit);
  } finally {
    timer.cancel();
    socket?.destroy();
  }
}

function handshake(options: ConnectionOptions, limit: { expired?: () => void }): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const socket = connect(options, () => resolve(socket));
    socket.once("error", reject);
    limit.expired = () => socket.destroy(new Error(`no answer within ${timeoutMs / 1000} s`));
  });
}

/** As the peer sent it, leaf first. */
function chainOf(socket: TLSSocket): readonly Buffer[] {
  const chain: Buffer[] = [];
  let certificate = socket.getPeerCertificate(true) as ReturnType<TLSSocket["getPeerCertificate"]> | null;
  while (certificate?.raw !== undefined && chain.length < maxChain) {
    if (chain.some((known) => known.equals(certificate?.raw ?? known))) break; // a root is its own issuer
    chain.push(certificate.raw);
    certificate =
      (certificate as { readonly issuerCertificate?: typeof certificate }).issuerCertificate ?? null;
  }
  return chain;
}

function read(socket: TLSSocket, url: URL, limit: { expired?: () => void }): Promise<string> {
  return new Promise((resolve, reject) => {
    const call = request({
      createConnection: () => socket,
      path: `${url.pathname}${url.search}`,
      headers: { host: url.host, accept: "application/json", connection: "close" },
    });
    limit.expired = () => call.destroy(new Error(`no answer within ${timeoutMs / 1000} s`));
    call.once("error", reject);
    call.once("response", (response: IncomingMessage) => {
      if (response.statusCode !== 200)
        return reject(new Error(`the endpoint answered ${response.statusCode}`));
      const parts: Buffer[] = [];
      let bytes = 0;
      response.on("data", (part: Buffer) => {
        parts.push(part);
        bytes += part.length;
        if (bytes > maxBundleBytes)
          call.destroy(new Error(`the bundle has more than ${maxBundleBytes} bytes`));
      });
      response.once("error", reject);
      response.once("aborted", () => reject(new Error("the endpoint ended in the middle of its answer")));
      response.once("end", () => resolve(Buffer.concat(parts).toString("utf8")));
    });
    call.end();
  });
}
