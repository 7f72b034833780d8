import { CertificateError } from "./certificate-error.js";

/**
 * Who a workload is: spiffe://<trustDomain>/ns/<namespace>/svc/<service>, or as Consul's CA writes it,
 * spiffe://<trustDomain>/ns/<namespace>/dc/<datacenter>/svc/<service>.
 */
export interface SpiffeId {
  readonly trustDomain: string;
  readonly namespace: string;
  readonly service: string;
  /** Set in ids of Consul's CA, and only there. */
  readonly datacenter?: string | undefined;
}

/** SPIFFE-ID §2.3: implementations must accept 2048 bytes and should not make longer ones. */
export const maxSpiffeIdBytes = 2048;
const scheme = "spiffe://";
/** SPIFFE-ID §2.1; at most 255 bytes, like a DNS name. */
const trustDomainPattern = /^[a-z0-9._-]{1,255}$/;
/** SPIFFE-ID §2.2: letters, digits, dot, dash, underscore; never `.` or `..` alone; percent-encoding is not allowed. */
const segmentPattern = /^(?!\.{1,2}$)[a-zA-Z0-9._-]+$/;
/** A DNS label that may also hold dots and underscores; 63 so that it fits a common name (64) and a label (63). */
const namePattern = /^[a-z0-9][-a-z0-9_.]{0,62}$/;

/** May `text` name a service or a namespace? */
export function isServiceName(text: string): boolean {
  return namePattern.test(text);
}

/** May `text` name a trust domain? */
export function isTrustDomain(text: string): boolean {
  return trustDomainPattern.test(text);
}

/**
 * Strict reading of a service's id, by the rules of SPIFFE-ID §2 and our path shape.
 * @throws CertificateError with the reason why it is none.
 */
export function parseSpiffeId(text: string): SpiffeId {
  const { trustDomain, path } = splitSpiffeUri(text);
  const segments = path.split("/").slice(1);
  const [ns, namespace = "", dc, place = ""] = segments;
  const datacenter = segments.length === 6 && dc === "dc" ? place : undefined;
  const [svc, service = "", ...more] = segments.slice(datacenter === undefined ? 2 : 4);
  const isService = ns === "ns" && svc === "svc" && more.length === 0;
  const names = [namespace, service, ...(datacenter === undefined ? [] : [datacenter])];
  if (!isService || !names.every(isServiceName)) refuse("not_a_service_id", text);
  return { trustDomain, namespace, service, ...(datacenter === undefined ? {} : { datacenter }) };
}

/** @throws CertificateError when a part is not allowed, so that no caller can build an id that names somebody else. */
export function formatSpiffeId(id: SpiffeId): string {
  const place = id.datacenter === undefined ? "" : `/dc/${id.datacenter}`;
  const text = `${scheme}${id.trustDomain}/ns/${id.namespace}${place}/svc/${id.service}`;
  parseSpiffeId(text);
  return text;
}

/**
 * The two parts of any SPIFFE id, also of a CA's (whose path is empty: X509-SVID §3.1).
 * @throws CertificateError
 */
export function splitSpiffeUri(text: string): { readonly trustDomain: string; readonly path: string } {
  if (Buffer.byteLength(text) > maxSpiffeIdBytes) throw new CertificateError("spiffe_id_too_long");
  if (!text.startsWith(scheme)) refuse("not_spiffe", text);
  const slash = text.indexOf("/", scheme.length);
  const trustDomain = text.slice(scheme.length, slash === -1 ? undefined : slash);
  const path = slash === -1 ? "" : text.slice(slash);
  if (!isTrustDomain(trustDomain)) refuse("bad_trust_domain", text);
  if (
    path !== "" &&
    !path
      .slice(1)
      .split("/")
      .every((segment) => segmentPattern.test(segment))
  )
    refuse("bad_path", text);
  return { trustDomain, path };
}

/** The text comes from a peer: JSON keeps control characters out of logs. */
function refuse(reason: ConstructorParameters<typeof CertificateError>[0], text: string): never {
  throw new CertificateError(reason, JSON.stringify(text.slice(0, 200)));
}
