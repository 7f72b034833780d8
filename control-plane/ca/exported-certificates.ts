import { backdateMs } from "../../certs/validity.js";
import type { IssuanceLog, IssuedEntry } from "./issuance-log.js";
import type { Revocations } from "./revocations.js";

/** The newest certificate that `remora cert issue` made for somebody: nobody renews it but the one who issued it. */
export interface ExportedCertificateView {
  /** SPIFFE id. */
  readonly id: string;
  readonly serial: string;
  /** Unix milliseconds. */
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
}

/** In an answer; the log may have more. */
const maxViews = 1000;

/** Those that are in use or were until lately, first the one that ends first. What ended longer ago than it lived is history. */
export async function exportedCertificates(
  { log, revocations }: { readonly log: IssuanceLog; readonly revocations: Pick<Revocations, "serials"> },
  nowMs: number,
): Promise<readonly ExportedCertificateView[]> {
  const newest = new Map<string, ExportedCertificateView>();
  for await (const entry of log.read()) {
    const view = viewOf(entry);
    const known = newest.get(view.id);
    const isNewer = known === undefined || view.notAfterMs > known.notAfterMs;
    if (entry.by === "offline" && isNewer && !revocations.serials.get().has(view.serial))
      newest.set(view.id, view);
  }
  return [...newest.values()]
    .filter(({ notBeforeMs, notAfterMs }) => nowMs - notAfterMs < notAfterMs - notBeforeMs)
    .sort((a, b) => a.notAfterMs - b.notAfterMs)
    .slice(0, maxViews);
}

function viewOf({ id, serial, at, notAfter }: IssuedEntry): ExportedCertificateView {
  return { id, serial, notBeforeMs: Date.parse(at) - backdateMs, notAfterMs: Date.parse(notAfter) };
}
