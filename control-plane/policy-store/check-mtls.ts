import { splitSpiffeUri } from "../../certs/spiffe-id.js";
import type { MtlsSpec } from "../../src/config/documents/mtls.js";
import type { Report } from "./field-checks.js";
import type { FieldPath } from "./yaml-position.js";

/** Contradictions inside `mtls`, and names that no workload can prove. */
export function checkMtls({ mode, peerIdentity }: MtlsSpec, path: FieldPath, report: Report): void {
  if (peerIdentity === undefined) return;
  const at = [...path, "peerIdentity"];
  if (mode === "DISABLE")
    report(at, "means nothing with mode DISABLE: in plaintext nobody proves an identity");
  peerIdentity.forEach((id, index) => {
    if (!isWorkloadId(id))
      report(
        [...at, index],
        `${JSON.stringify(id)} is not valid: the whole SPIFFE id of a workload, like spiffe://mesh.local/ns/default/svc/reviews`,
      );
  });
}

/** An id without a path is a CA's, and its certificate is not a workload's (X509-SVID §3.1). */
function isWorkloadId(text: string): boolean {
  try {
    return splitSpiffeUri(text).path !== "";
  } catch {
    return false;
  }
}
