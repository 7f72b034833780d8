import type { Fields } from "./fields.js";
import { packAny, wire } from "./wire.js";

/** Name of the certificate provider in a gRPC bootstrap, and of its trust bundle. */
const provider = { instanceName: "default" };

/** mTLS towards peers that prove one of these identities. */
export function encodeTls(identities: readonly string[]): object {
  // An empty list would let any certificate of the mesh pass; the name "" lets none.
  const names = identities.length === 0 ? [""] : identities;
  const context = {
    commonTlsContext: {
      tlsCertificateProviderInstance: provider,
      validationContext: {
        caCertificateProviderInstance: provider,
        matchSubjectAltNames: names.map((exact) => ({ exact })),
      },
    },
  };
  return { name: "envoy.transport_sockets.tls", typedConfig: packAny(wire.upstreamTlsContext, context) };
}

/** The identities that the cluster's transport_socket asks for. */
export function decodeIdentities(cluster: Fields): string[] {
  const context = cluster.message("transportSocket").any("typedConfig", wire.upstreamTlsContext);
  const validation = context.message("commonTlsContext").message("validationContext");
  const matchers = validation.messages("matchSubjectAltNames");
  if (matchers.length === 0) throw validation.error("matchSubjectAltNames", "empty: any peer would pass");
  return matchers
    .map((matcher, i) => {
      const exact = matcher.optionalString("exact");
      if (exact === undefined) throw validation.error("matchSubjectAltNames", `${i} is not an exact match`);
      return exact;
    })
    .filter((exact) => exact !== "");
}
