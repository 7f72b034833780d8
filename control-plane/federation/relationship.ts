import { CertificateError } from "../../certs/certificate-error.js";
import { isTrustDomain, splitSpiffeUri } from "../../certs/spiffe-id.js";
import { parseSpiffeBundle, type SpiffeBundle } from "../../certs/spiffe-bundle.js";
import { ConfigError } from "../../src/errors/config-error.js";

/** How the endpoint of a bundle proves who it is (SPIFFE Federation §5.2). */
export type EndpointProfile =
  /** By an X.509-SVID of this id. */
  | { readonly kind: "https_spiffe"; readonly endpointSpiffeId: string }
  /** By a certificate of a public CA for its name. */
  | { readonly kind: "https_web" };

/** Another trust domain whose identities ours believes. One-way: the other side decides for itself. */
export interface Relationship {
  readonly trustDomain: string;
  /** https URL of its bundle. */
  readonly endpoint: string;
  readonly profile: EndpointProfile;
  /** The newest bundle, as it came; undefined only with https_web, before the first answer. */
  readonly bundle: string | undefined;
}

/** What an operator wishes, as JSON. */
export type RelationshipWish = Readonly<Record<string, unknown>>;

/**
 * Checks what an operator asks for; `ownTrustDomain` is ours, and never another's.
 * @throws ConfigError that says what is wrong, and what it may be.
 */
export function readRelationship(wish: RelationshipWish, ownTrustDomain: string): Relationship {
  const { trustDomain, endpoint, endpointSpiffeId, bundle } = wish;
  if (typeof trustDomain !== "string" || !isTrustDomain(trustDomain))
    throw new ConfigError("trustDomain is missing or no trust domain: say whose identities to believe");
  if (trustDomain === ownTrustDomain)
    throw new ConfigError(`${trustDomain} is our own trust domain: only our own CA vouches for it`);
  if (typeof endpoint !== "string" || !isEndpoint(endpoint))
    throw new ConfigError(
      "endpoint must be an https URL without a user, like https://cp.other.example:8443/",
    );
  const profile = readProfile(endpointSpiffeId);
  if (bundle !== undefined && typeof bundle !== "string") throw new ConfigError("bundle must be text");
  if (profile.kind === "https_spiffe" && bundle === undefined)
    throw new ConfigError(
      `bundle is missing: with an endpoint SPIFFE id the first one comes by hand; on the other mesh, remora federation bundle prints it`,
    );
  if (bundle !== undefined) readBundle(bundle, trustDomain);
  return { trustDomain, endpoint, profile, bundle };
}

/** @throws ConfigError */
export function readBundle(text: string, trustDomain: string): SpiffeBundle {
  try {
    return parseSpiffeBundle(text, trustDomain);
  } catch (error: unknown) {
    if (!(error instanceof CertificateError)) throw error;
    throw new ConfigError(`the bundle of ${trustDomain} cannot be used: ${error.message}`, { cause: error });
  }
}

function isEndpoint(text: string): boolean {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  return url?.protocol === "https:" && url.username === "" && url.password === "" && text.length <= 2048;
}

function readProfile(id: unknown): EndpointProfile {
  if (id === undefined) return { kind: "https_web" };
  try {
    if (typeof id === "string" && splitSpiffeUri(id).path !== "")
      return { kind: "https_spiffe", endpointSpiffeId: id };
  } catch (error: unknown) {
    if (!(error instanceof CertificateError)) throw error;
  }
  throw new ConfigError("endpointSpiffeId must be the SPIFFE id that the endpoint proves, with a path");
}
