import path from "node:path";
import { parseHostPort } from "../../src/discovery/host-port.js";
import type { TrustSource } from "../../src/identity/mesh-trust.js";
import type { CertificateSource } from "../../src/identity/svid.js";
import type { LatestValue } from "../../src/lifecycle/latest-value.js";
import type { Clock } from "../../src/time/clock.js";
import type { Logger } from "../telemetry/log.js";
import { openBundleEndpoint } from "./bundle-endpoint.js";
import { openFederation, type Federation, type FederationEvent } from "./federation.js";
import { ownBundle, type OwnBundle } from "./own-bundle.js";

export interface FederationParts {
  readonly federation: Federation;
  readonly own: OwnBundle;
  /** host:port of the bundle endpoint, as bound; undefined: it is not served. */
  readonly address: string | undefined;
  close(): Promise<void>;
}

/**
 * Both halves of federation: what we believe of others, and what others may read of us.
 * @throws ConfigError
 */
export async function startFederation(options: {
  readonly dataDir: string;
  readonly trustDomain: string;
  /** host:port of the bundle endpoint; undefined: none. */
  readonly listen: string | undefined;
  /** Seconds. */
  readonly refreshHint: number;
  readonly certificates: CertificateSource;
  readonly trust: TrustSource;
  readonly roots: LatestValue<ReadonlyMap<string, string>>;
  readonly jwtKeys: LatestValue<ReadonlyMap<string, string>>;
  readonly clock: Clock;
  readonly log: Logger;
}): Promise<FederationParts> {
  const { dataDir, trustDomain, listen, trust, roots, jwtKeys, clock, log, refreshHint } = options;
  const own = ownBundle({
    trustDomain,
    trust,
    file: path.join(dataDir, "bundle-sequence.json"),
    refreshHint,
  });
  const federation = await openFederation({
    ...{ trustDomain, roots, jwtKeys, clock },
    file: path.join(dataDir, "federation.json"),
    ownRoots: () => trust.get().bundles.get(trustDomain),
    onEvent: (event) => logFederation(log, event),
  });
  if (listen === undefined)
    return { federation, own, address: undefined, close: () => Promise.resolve(federation.close()) };
  const endpoint = await openBundleEndpoint({
    listen: parseHostPort(listen, "--federation-listen"),
    certificates: options.certificates,
    bundle: own,
    onError: (err) => log.error({ err }, "bundle endpoint"),
  }).catch((error: unknown) => {
    federation.close();
    throw error;
  });
  return {
    federation,
    own,
    address: endpoint.address,
    close: () => {
      federation.close();
      return endpoint.close();
    },
  };
}

function logFederation(log: Logger, { kind, trustDomain, reason }: FederationEvent): void {
  const fields = { trustDomain, ...(reason !== undefined && { reason }) };
  if (kind === "failed") return log.warn(fields, "the bundle of a federated trust domain was not updated");
  const what = { added: "added", removed: "removed", updated: "has a new bundle" }[kind];
  log.info(fields, `federated trust domain ${what}`);
}
