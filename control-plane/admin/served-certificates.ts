import { splitPemCertificates } from "../../certs/bundle.js";
import { parseCertificate } from "../../certs/certificate.js";
import { refusalTexts } from "../../certs/certificate-error.js";
import { refusalOf, svidIdentity } from "../../certs/svid-rules.js";
import { readServedLeaf } from "../../src/identity/served-leaf.js";
import type { CertificateSource, Svid } from "../../src/identity/svid.js";
import type { Clock } from "../../src/time/clock.js";
import type { ExportedCertificateView } from "../ca/exported-certificates.js";
import type { CatalogState, Instance } from "../catalog/catalog.js";

/** A certificate and what is wrong with it, if anything. */
export interface LifeView {
  readonly id: string | null;
  /** Hexadecimal, as `openssl x509 -serial` prints. */
  readonly serial: string | null;
  /** Unix milliseconds. */
  readonly notBeforeMs: number | null;
  readonly notAfterMs: number | null;
}

/** One instance's inbound port, as its peers see it. */
export interface ServedCertificateView extends LifeView {
  readonly instance: string;
  /** `<service>.<namespace>` */
  readonly service: string;
  /** address:port of the inbound listener. */
  readonly at: string;
  /** Why nothing was seen, or why what was seen would be refused. */
  readonly problem: string | null;
  /** False: nobody answered, which says nothing of the certificate. */
  readonly isSeen: boolean;
}

/** Answer of GET /v1/served-certificates. */
export interface ServedCertificatesView {
  readonly controlPlane: LifeView;
  /** Between the control plane's own certificate and the roots. */
  readonly intermediates: readonly LifeView[];
  readonly sidecars: readonly ServedCertificateView[];
  /** Instances that there was no time for. */
  readonly leftOut: number;
  /** Of services without a sidecar; absent when the CA is Consul's. */
  readonly exported?: readonly ExportedCertificateView[];
}

export interface ServedCertificatesOptions {
  /** The control plane's own. */
  readonly certificates: CertificateSource;
  readonly trustDomain: string;
  readonly catalog: () => CatalogState | undefined;
  readonly exported?: (() => Promise<readonly ExportedCertificateView[]>) | undefined;
  readonly clock: Clock;
}

/** So many handshakes at once: one costs a millisecond of CPU, and waiting for packets that vanish costs nothing. */
const parallel = 16;
const timeoutMs = 2000;
/** The caller waits for the answer. */
const totalMs = 10_000;

/** Looks under way, by whose they are. */
const present = new WeakMap<CertificateSource, Promise<ServedCertificatesView>>();

/**
 * Looks at the certificate of every inbound port that the registry knows, by a handshake with each. Who asks while a look is
 * under way gets its answer: however many ask, the mesh sees one look at a time.
 */
export function readServedCertificates(options: ServedCertificatesOptions): Promise<ServedCertificatesView> {
  const { certificates } = options;
  const known = present.get(certificates);
  if (known !== undefined) return known;
  const started = lookAtAll(options).finally(() => present.delete(certificates));
  present.set(certificates, started);
  return started;
}

async function lookAtAll(options: ServedCertificatesOptions): Promise<ServedCertificatesView> {
  const { certificates, catalog, exported, clock } = options;
  const svid = certificates.get();
  const services = [...(catalog()?.services.values() ?? [])];
  const meshed = services.flatMap(({ name, namespace, instances }) =>
    instances.flatMap((instance) =>
      instance.meshPort === undefined ? [] : [{ name, namespace, instance, meshPort: instance.meshPort }],
    ),
  );
  const sidecars: ServedCertificateView[] = [];
  const endMs = clock.monotonicMs() + totalMs;
  let next = 0;
  const walk = async (): Promise<void> => {
    while (svid !== undefined && clock.monotonicMs() < endMs) {
      const place = meshed[next++];
      if (place === undefined) return;
      sidecars.push(await look(place, svid, options));
    }
  };
  await Promise.all(Array.from({ length: parallel }, walk));
  return {
    controlPlane: svid === undefined ? unknown : { ...lifeOf(svid), id: svid.id },
    intermediates: svid === undefined ? [] : intermediatesOf(svid),
    sidecars: sidecars.sort((a, b) => (a.instance < b.instance ? -1 : 1)),
    leftOut: meshed.length - sidecars.length,
    ...(exported !== undefined && { exported: await exported() }),
  };
}

function intermediatesOf({ certChainPem, bundlePem }: Svid): readonly LifeView[] {
  const roots = splitPemCertificates(bundlePem);
  const [, ...issuers] = splitPemCertificates(certChainPem);
  return issuers
    .filter((der) => !roots.some((root) => root.equals(der)))
    .map((der) => ({ id: null, ...lifeOf(parseCertificate(der)) }));
}

interface MeshedPlace {
  readonly name: string;
  readonly namespace: string;
  readonly instance: Instance;
  readonly meshPort: number;
}

const unknown: LifeView = { id: null, serial: null, notBeforeMs: null, notAfterMs: null };

async function look(
  { name, namespace, instance, meshPort: port }: MeshedPlace,
  svid: Svid,
  { trustDomain, clock }: ServedCertificatesOptions,
): Promise<ServedCertificateView> {
  const { address } = instance;
  const at = `${address.includes(":") ? `[${address}]` : address}:${port}`;
  const place = { instance: instance.id, service: `${name}.${namespace}`, at };
  const seen = await readServedLeaf({ address, port, timeoutMs, isAnyTold: true }, svid, clock);
  if (!seen.ok) return { ...place, ...unknown, problem: seen.detail, isSeen: false };
  try {
    const leaf = parseCertificate(seen.der);
    const identity = svidIdentity(leaf);
    const life = { ...lifeOf(leaf), id: identity.ok ? identity.id : null };
    const expected = `spiffe://${trustDomain}/ns/${namespace}/svc/${name}`;
    let problem = seen.doubt ?? null;
    if (!identity.ok) problem = refusalTexts[identity.reason];
    else if (identity.id !== expected) problem = `belongs to ${identity.id}`;
    return { ...place, ...life, problem, isSeen: true };
  } catch (error: unknown) {
    return { ...place, ...unknown, problem: refusalTexts[refusalOf(error)], isSeen: true };
  }
}

function lifeOf({ serial, notBeforeMs, notAfterMs }: Pick<Svid, "serial" | "notBeforeMs" | "notAfterMs">) {
  return { serial, notBeforeMs, notAfterMs };
}
