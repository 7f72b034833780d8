/**
 * What an agent answers about its mesh CA (Consul API: /v1/agent/connect/ca/roots and /leaf/<service>), decoded. Nothing
 * here is verified: assembleSvid and verifySvidChain do that.
 */
import { CertificateError } from "../../certs/certificate-error.js";
import { readPrivateKey } from "../../certs/keys.js";
import { isTrustDomain } from "../../certs/spiffe-id.js";

export const rootsPath = "/agent/connect/ca/roots";

export function leafPath(service: string): string {
  return `/agent/connect/ca/leaf/${encodeURIComponent(service)}`;
}

export interface ConnectRoots {
  readonly trustDomain: string;
  /** The active root first, then those that a rotation has not retired yet: all are trusted. */
  readonly bundlePem: string;
}

export interface ConnectLeaf {
  /** Leaf first, then intermediates: after a rotation among them the new root, signed by the old one. */
  readonly certChainPem: string;
  /** PKCS #8, whatever form Consul has it in. */
  readonly keyPem: string;
}

/** Roots of one mesh; Consul keeps a handful. */
const maxRoots = 64;

/** undefined when the answer is not what Consul answers. */
export function readRoots(body: unknown): ConnectRoots | undefined {
  const { TrustDomain: trustDomain, Roots: roots } = record(body);
  if (typeof trustDomain !== "string" || !isTrustDomain(trustDomain.toLowerCase())) return undefined;
  if (!Array.isArray(roots) || roots.length === 0 || roots.length > maxRoots) return undefined;
  const active: string[] = [];
  const former: string[] = [];
  for (const item of roots) {
    const { RootCert: pem, Active: isActive } = record(item);
    if (typeof pem !== "string") return undefined;
    (isActive === true ? active : former).push(`${pem.trim()}\n`);
  }
  return { trustDomain: trustDomain.toLowerCase(), bundlePem: [...active, ...former].join("") };
}

/** undefined when the answer is not what Consul answers. */
export function readLeaf(body: unknown): ConnectLeaf | undefined {
  const { CertPEM: certChainPem, PrivateKeyPEM: key } = record(body);
  if (typeof certChainPem !== "string" || typeof key !== "string") return undefined;
  try {
    const keyPem = readPrivateKey(key).export({ type: "pkcs8", format: "pem" }).toString();
    return { certChainPem: `${certChainPem.trim()}\n`, keyPem };
  } catch (error: unknown) {
    if (error instanceof CertificateError) return undefined;
    throw error;
  }
}

function record(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
}
