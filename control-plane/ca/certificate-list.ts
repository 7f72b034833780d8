import type { SidecarView } from "../admin/views.js";
import type { IssuanceLog, IssuedEntry } from "./issuance-log.js";
import type { Revocations } from "./revocations.js";

/** One entry of GET /v1/certificates. */
export interface CertificateView extends IssuedEntry {
  readonly state: "active" | "revoked" | "expired";
  /** Why it was revoked; null when it was not. */
  readonly reason: string | null;
  /** Names of the connected sidecars that use it. */
  readonly inUseBy: readonly string[];
}

export interface CertificateFilter {
  /** SPIFFE id. */
  readonly id: string | undefined;
  /** With those that have expired, as far back as the log goes. */
  readonly withExpired: boolean;
  readonly limit: number;
}

/** The newest `limit` certificates that fit, newest first. */
export async function listCertificates(
  parts: {
    readonly log: IssuanceLog;
    readonly revocations: Revocations;
    readonly sidecars: () => readonly SidecarView[];
  },
  filter: CertificateFilter,
  nowMs: number,
): Promise<{ readonly certificates: readonly CertificateView[]; readonly more: number }> {
  const revoked = new Map(parts.revocations.list().map((leaf) => [leaf.serial, leaf.reason]));
  const users = new Map<string, string[]>();
  for (const { id, certificateSerial } of parts.sidecars())
    if (certificateSerial !== null)
      users.set(certificateSerial, [...(users.get(certificateSerial) ?? []), id]);
  let found: IssuedEntry[] = [];
  let count = 0;
  for await (const entry of parts.log.read()) {
    if (filter.id !== undefined && entry.id !== filter.id) continue;
    if (!filter.withExpired && Date.parse(entry.notAfter) <= nowMs) continue;
    count += 1;
    found.push(entry);
    if (found.length >= 2 * filter.limit) found = found.slice(-filter.limit);
  }
  const view = (entry: IssuedEntry): CertificateView => ({
    ...entry,
    state: Date.parse(entry.notAfter) <= nowMs ? "expired" : revoked.has(entry.serial) ? "revoked" : "active",
    reason: revoked.get(entry.serial) ?? null,
    inUseBy: users.get(entry.serial) ?? [],
  });
  const certificates = found.slice(-filter.limit).reverse().map(view);
  return { certificates, more: count - certificates.length };
}
