import { status, type ServerWritableStream, type sendUnaryData, type ServerUnaryCall } from "@grpc/grpc-js";
import { createHash } from "node:crypto";
import { readJwkSet } from "../../certs/jwk.js";
import { jwtRefusalTexts, verifyJwtSvid } from "../../certs/jwt-svid.js";
import { messageOf } from "../errors/message-of.js";
import type { CertificateSource, Svid } from "../identity/svid.js";
import type { LatestValue } from "../lifecycle/latest-value.js";
import type { Clock } from "../time/clock.js";
import { jwtBundlesAnswer, x509BundlesAnswer, x509SvidAnswer, type WorkloadTrust } from "./answers.js";
import { streamLatest } from "./latest-stream.js";
import type {
  JwtBundlesResponse,
  JwtSvidRequest,
  JwtSvidResponse,
  ValidateJwtSvidRequest,
  ValidateJwtSvidResponse,
  X509BundlesResponse,
  X509SvidResponse,
} from "./protocol.js";
import { toStruct } from "./struct.js";

/** A JWT-SVID of our own id for these audiences; rejects with what can be told to the application. */
export type FetchJwt = (audience: readonly string[]) => Promise<string>;

export interface WorkloadSources {
  readonly certificates: CertificateSource;
  readonly trust: Pick<LatestValue<WorkloadTrust>, "get" | "watch">;
  readonly fetchJwt: FetchJwt;
  readonly clock: Clock;
}

interface Refusal {
  readonly code: status;
  readonly details: string;
}

/** Each one is a recipient that could show the token to the others (JWT-SVID §6.2). */
const maxAudiences = 16;
const maxAudienceLength = 1024;

/** The implementation of the Workload API for the one identity that this sidecar has. */
export function workloadHandlers(sources: WorkloadSources) {
  const { certificates, trust, fetchJwt, clock } = sources;
  const present = (): Svid | Refusal => {
    const svid = certificates.get();
    if (svid === undefined)
      return { code: status.PERMISSION_DENIED, details: "the sidecar has no identity yet: try again" };
    if (svid.notAfterMs > clock.wallMs()) return svid;
    const details = "the identity has expired, and renewal has not succeeded: see the sidecar's log";
    return { code: status.UNAVAILABLE, details };
  };
  const watch = (changed: () => void): (() => void) => {
    const stops = [certificates.watch(changed), trust.watch(changed)];
    return () => stops.forEach((stop) => stop());
  };
  const stream =
    <T>(
      answerOf: (svid: Svid, trust: WorkloadTrust) => T,
      contentOf: (svid: Svid, trust: WorkloadTrust) => readonly string[],
    ) =>
    (call: ServerWritableStream<unknown, T>): void => {
      const first = present();
      if ("code" in first) return void call.emit("error", first);
      const read = () => {
        const svid = certificates.get();
        if (svid === undefined) return undefined;
        const known = trust.get();
        return { version: digest(contentOf(svid, known)), answer: answerOf(svid, known) };
      };
      streamLatest(call, read, watch);
    };
  const issue = async ({ audience, spiffeId }: JwtSvidRequest): Promise<JwtSvidResponse> => {
    const svid = present();
    if ("code" in svid) throw refused(svid);
    checkAudience(audience);
    if (spiffeId !== "" && spiffeId !== svid.id)
      throw refused({ code: status.PERMISSION_DENIED, details: `this workload is ${svid.id}, nobody else` });
    return { svids: [{ spiffeId: svid.id, svid: await fetchJwt(audience), hint: "" }] };
  };
  const validate = (request: ValidateJwtSvidRequest): ValidateJwtSvidResponse => {
    checkAudience([request.audience]);
    const verdict = verifyJwtSvid(request.svid, {
      audience: request.audience,
      nowMs: clock.wallMs(),
      keysOf: (domain) => {
        const set = trust.get().jwtKeys?.get(domain);
        return set === undefined ? undefined : readJwkSet(set);
      },
    });
    if (verdict.ok) return { spiffeId: verdict.id, claims: toStruct(verdict.claims) };
    throw refused({ code: status.INVALID_ARGUMENT, details: jwtRefusalTexts[verdict.reason] });
  };
  return {
    FetchX509SVID: stream<X509SvidResponse>(x509SvidAnswer, (svid, { bundles }) => [
      svid.certChainPem,
      ...roots(svid, bundles),
    ]),
    FetchX509Bundles: stream<X509BundlesResponse>(x509BundlesAnswer, (svid, { bundles }) =>
      roots(svid, bundles),
    ),
    FetchJWTBundles: stream<JwtBundlesResponse>(jwtBundlesAnswer, (_, { jwtKeys }) =>
      [...(jwtKeys ?? [])].flat(),
    ),
    FetchJWTSVID: unary(issue),
    ValidateJWTSVID: unary(validate),
  };
}

function checkAudience(audience: readonly string[]): void {
  const isRight = (one: string): boolean => one !== "" && one.length <= maxAudienceLength;
  if (audience.length > 0 && audience.length <= maxAudiences && audience.every(isRight)) return;
  throw refused({
    code: status.INVALID_ARGUMENT,
    details: `audience: 1 to ${maxAudiences} texts of 1 to ${maxAudienceLength} characters`,
  });
}

function unary<Q, A>(answer: (request: Q) => A | Promise<A>) {
  return (call: ServerUnaryCall<Q, A>, callback: sendUnaryData<A>): void => {
    Promise.resolve(call.request)
      .then(answer)
      .then(
        (value) => callback(null, value),
        (error: unknown) => callback(refusalOf(error)),
      );
  };
}

/** What the control plane refused is told on; anything else is a control plane that cannot be reached. */
function refusalOf(error: unknown): Refusal {
  const { code, details } = error as Partial<Refusal>;
  if (typeof code === "number" && typeof details === "string") return { code, details };
  return { code: status.UNAVAILABLE, details: messageOf(error) };
}

function refused(refusal: Refusal): Error {
  return Object.assign(new Error(refusal.details), refusal);
}

function roots(svid: Svid, bundles: WorkloadTrust["bundles"]): readonly string[] {
  return [svid.bundlePem, ...[...bundles].flat()];
}

function digest(texts: readonly string[]): string {
  const hash = createHash("sha256");
  for (const text of texts) hash.update(`${text.length}:${text}`);
  return hash.digest("base64");
}
