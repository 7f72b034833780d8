import { messageOf } from "../errors/message-of.js";
import { Client, status, type ServiceError } from "@grpc/grpc-js";
import { CertificateError } from "../../certs/certificate-error.js";
import { createCsr } from "../../certs/csr.js";
import { parseJoinToken, type JoinToken } from "../../certs/join-token.js";
import { generateKeyPem, keyTypes, type KeyType } from "../../certs/keys.js";
import { formatSpiffeId, parseSpiffeId } from "../../certs/spiffe-id.js";
import { ConfigError } from "../errors/config-error.js";
import { assembleSvid } from "../identity/assemble-svid.js";
import type { Svid } from "../identity/svid.js";
import type { Clock } from "../time/clock.js";
import { channelOptionsFor, controlPlaneCredentials, type ClientKey } from "./control-plane-tls.js";
import { fetchPinnedRoot, FirstContactError, unreachable } from "./first-contact.js";
import { parseHostPort, type HostPort } from "./host-port.js";
import type { JoinProof } from "./join-proof.js";
import { enrollmentService, keyTypeField, type IssueRequest } from "./proto/enrollment.js";
import { unaryCall } from "./unary-call.js";

export interface JoinOptions {
  /** host:port of the control plane's gRPC listener. */
  readonly controlPlane: string;
  readonly proof: JoinProof;
  /** SHA-256 of the control plane's root, hexadecimal: must agree with a join token; needed with any other proof. */
  readonly caFingerprint?: string | undefined;
  /** Whom the proof is expected to be for: a token of another service is refused here, not used by mistake. */
  readonly service: string;
  readonly namespace: string;
  readonly clock: Clock;
  readonly signal?: AbortSignal;
}

export interface EnrollOptions extends Omit<JoinOptions, "proof"> {
  /** Join token, `rmr1....`. */
  readonly token: string;
}

export interface RenewOptions {
  readonly controlPlane: string;
  readonly clock: Clock;
  readonly signal?: AbortSignal;
}

/** TCP connect and TLS handshake of the first contact. */
const connectTimeoutMs = 5000;
/** A whole Issue call, connecting included. */
const issueTimeoutMs = 10_000;

/** enrollBy with a join token. */
export function enroll({ token, ...options }: EnrollOptions): Promise<Svid> {
  return enrollBy({ ...options, proof: { kind: "token", text: token } });
}

/**
 * The first certificate of a sidecar: makes a key, pins the control plane's root by its fingerprint, and only then sends the
 * proof over a connection verified against that root. Not tried twice: a token is used up by its first arrival.
 *
 * @throws ConfigError: control plane unreachable, wrong fingerprint, proof refused, token of another service.
 */
export async function enrollBy(options: JoinOptions): Promise<Svid> {
  const { proof, service, namespace, clock } = options;
  const target = parseHostPort(options.controlPlane, "--control-plane");
  const { rootPem, trustDomain } = await fetchPinnedRoot(target, fingerprintOf(options), {
    clock,
    timeoutMs: connectTimeoutMs,
    ...(proof.kind === "token" ? {} : { pin: "--ca-fingerprint" }),
  });
  const shown =
    proof.kind === "token"
      ? { token: proof.text.trim() }
      : { token: "", consulToken: proof.text, service, namespace };
  const svid = await issue({ target, bundlePem: rootPem, trustDomain, shown, key: undefined }, options);
  const expected = formatSpiffeId({ trustDomain, namespace, service });
  if (svid.id !== expected)
    throw new ConfigError(
      `the join token is for ${svid.id}, not for ${expected}: create one with remora token create --service ${service}`,
    );
  return svid;
}

/** The root to insist on. @throws ConfigError when nothing says which, or two say different ones. */
function fingerprintOf({ proof, caFingerprint }: JoinOptions): string {
  if (proof.kind === "consul") {
    if (caFingerprint !== undefined) return caFingerprint;
    throw new ConfigError("a Consul token is sent to nobody without --ca-fingerprint: give it", {
      place: "--ca-fingerprint",
    });
  }
  const { rootFingerprint } = readToken(proof.text);
  if (caFingerprint === undefined || caFingerprint === rootFingerprint) return rootFingerprint;
  throw new ConfigError("the join token is for a control plane with another root: use one of the two", {
    place: "--ca-fingerprint",
  });
}

/**
 * A new certificate on a new key, by right of the present one.
 *
 * @throws ConfigError: control plane unreachable, certificate refused.
 */
export function renew(current: Svid, options: RenewOptions): Promise<Svid> {
  const target = parseHostPort(options.controlPlane, "--control-plane");
  const { trustDomain } = parseSpiffeId(current.id);
  return issue(
    { target, bundlePem: current.bundlePem, trustDomain, shown: { token: "" }, key: current },
    options,
  );
}

/** The control plane knows the proof, and does not take it: a certificate was revoked, a token is no good. */
export class CertificateRefused extends ConfigError {}

interface Issue {
  readonly target: HostPort;
  readonly bundlePem: string;
  readonly trustDomain: string;
  readonly shown: Omit<IssueRequest, "csrPem">;
  readonly key: ClientKey | undefined;
}

type CallOptions = Pick<RenewOptions, "clock" | "signal">;

/** A first key of the usual kind; where the mesh wants another, its answer says so, and nothing was used up. */
async function issue(request: Issue, options: CallOptions): Promise<Svid> {
  try {
    return await issueFor(await generateKeyPem(), request, options);
  } catch (error: unknown) {
    const wanted = wantedKeyType(error);
    if (wanted === undefined) throw explain(error, request.target);
    return await issueFor(await generateKeyPem(wanted), request, options).catch((again: unknown) => {
      throw explain(again, request.target);
    });
  }
}

function wantedKeyType(error: unknown): KeyType | undefined {
  const [said] = (error as Partial<ServiceError>).metadata?.get(keyTypeField) ?? [];
  return keyTypes.find((type) => type === said);
}

async function issueFor(keyPem: string, request: Issue, options: CallOptions): Promise<Svid> {
  const credentials = controlPlaneCredentials(
    request.bundlePem,
    { trustDomain: request.trustDomain },
    request.key,
  );
  const channelOptions = channelOptionsFor(request.bundlePem);
  const client = new Client(`dns:///${request.target.text}`, credentials, channelOptions);
  try {
    const { clock, signal } = options;
    const message = { csrPem: createCsr(keyPem), ...request.shown };
    const limits = { clock, signal, timeoutMs: issueTimeoutMs };
    const answer = await unaryCall(client, enrollmentService.Issue, message, limits);
    return assembleSvid({ certChainPem: answer.certChainPem, keyPem, bundlePem: answer.bundlePem });
  } finally {
    client.close();
  }
}

function explain(error: unknown, target: HostPort): Error {
  if (error instanceof CertificateError)
    return new ConfigError(`control plane ${target.text} issued an unusable certificate: ${error.message}`, {
      cause: error,
    });
  const { code, details } = error as ServiceError;
  switch (code) {
    case status.UNAVAILABLE:
    case status.CANCELLED: // not answered in time
      return unreachable(target, new Error(details, { cause: error }));
    case status.UNAUTHENTICATED:
      return new CertificateRefused(`control plane ${target.text}: ${details}`, { cause: error });
    case status.RESOURCE_EXHAUSTED: // many join at once: nothing was used up
      return new FirstContactError(`control plane ${target.text}: ${details}`, { cause: error });
    case undefined:
      return error as Error;
    default:
      return new ConfigError(`control plane ${target.text}: ${details}`, { cause: error });
  }
}

function readToken(token: string): JoinToken {
  try {
    return parseJoinToken(token);
  } catch (error: unknown) {
    throw new ConfigError(`${messageOf(error)}: create one with remora token create`, {
      place: "--token-file",
      cause: error,
    });
  }
}
