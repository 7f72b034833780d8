/**
 * The control plane, wired: registry and policy store -> mesh model -> a snapshot per sidecar -> xDS; beside it the CA,
 * the embedded registry's streams and the admin API. Start here to see how the parts hang together.
 */
import path from "node:path";
import { parseHostPort } from "../src/discovery/host-port.js";
import { enrollmentService } from "../src/discovery/proto/enrollment.js";
import { jwtSvidService } from "../src/discovery/proto/jwt-svids.js";
import { observationService } from "../src/discovery/proto/observation.js";
import { ConfigError } from "../src/errors/config-error.js";
import type { RenewalEvent } from "../src/identity/renewal.js";
import { LatestValue } from "../src/lifecycle/latest-value.js";
import { registrationService } from "../src/registration/registration-service.js";
import { systemClock, type Clock } from "../src/time/clock.js";
import { federationRoutes } from "./admin/federation-routes.js";
import { explainRoutes } from "./admin/explain-routes.js";
import { policyRoutes } from "./admin/policy-routes.js";
import { adminRoutes } from "./admin/routes.js";
import { readServedCertificates } from "./admin/served-certificates.js";
import { AdminServer } from "./admin/admin-server.js";
import { loadOrCreateAdminToken } from "./admin/admin-token.js";
import { openAdminTokens } from "./admin/admin-tokens.js";
import { entryOfEdits, openAuditLog } from "./admin/audit-log.js";
import { watchCaLife } from "./ca/ca-life.js";
import { createEnrollmentHandler, type EnrollmentEvent } from "./ca/enrollment-handler.js";
import { consulEnrollment, startConsulCa } from "./ca/consul-ca.js";
import { createConsulProof } from "./ca/consul-proof.js";
import { exportedCertificates } from "./ca/exported-certificates.js";
import { createJwtHandler } from "./ca/jwt-handler.js";
import { feedJwtKeySets } from "./ca/jwt-key-sets.js";
import { jwtKeyFile } from "./ca/jwt-key-file.js";
import { openJwtKeys } from "./ca/jwt-keys.js";
import { createRotation } from "./ca/rotate.js";
import { bundleOf } from "./ca/ca-store.js";
import { startRemoraCa, type MeshCa } from "./ca/remora-ca.js";
import { watchConsulIntentions } from "./catalog/consul-intentions.js";
import { watchConsulProtocols } from "./catalog/consul-protocols.js";
import { openDatacenters } from "./catalog/open-datacenters.js";
import { openCatalog } from "./catalog/open-catalog.js";
import { MeshSource } from "./compiler/mesh-source.js";
import { lockDataDir } from "./data-dir.js";
import { startFederation } from "./federation/start-federation.js";
import { createGrpcListener } from "./grpc-listener.js";
import { sweepLeftovers } from "./leftovers.js";
import { openCallFiles } from "./observation/call-files.js";
import { createObservationHandler } from "./observation/observation-handler.js";
import { createOverview } from "./overview.js";
import { createOwnPorts } from "./own-ports.js";
import { peerOf } from "./peer.js";
import { PolicyStore } from "./policy-store/directory.js";
import { createRegistrationHandler } from "./registration/registration-handler.js";
import { requireIdentity } from "./require-identity.js";
import { withDefaults, type ControlPlaneSettings } from "./settings.js";
import { openSidecarStreams } from "./sidecar-streams.js";
import { createLogger, logEnrollment, logPolicyProblems, logRenewal, type Logger } from "./telemetry/log.js";
import { createRefusalLog } from "./telemetry/refusal-log.js";
import { createControlPlaneMetrics, readMetrics } from "./telemetry/metrics.js";

/** A running control plane. */
export interface ControlPlane {
  /** host:port of the gRPC listener, as bound. */
  readonly listenAddress: string;
  /** host:port of the admin API, as bound. */
  readonly adminAddress: string;
  /** File with the bearer token of the admin API. */
  readonly adminTokenFile: string;
  readonly trustDomain: string;
  /** Ends every stream and connection; sidecars go on with what they have. Idempotent. */
  close(): Promise<void>;
}

/**
 * Starts a control plane; resolves when both ports are open.
 *
 * @throws ConfigError for everything an operator can put right: folder, ports, trust domain, Consul's URL.
 */
export async function startControlPlane(settings: ControlPlaneSettings): Promise<ControlPlane> {
  const closers: Closers = [];
  let closing: Promise<void> | undefined;
  const close = (): Promise<void> => (closing ??= closeAll(closers));
  try {
    return { ...(await start(settings, closers)), close };
  } catch (error: unknown) {
    await close();
    throw error;
  }
}

type Closers = (() => void | Promise<void>)[];

/** Last opened, first closed; one that fails does not keep the others open. */
async function closeAll(closers: Closers): Promise<void> {
  const errors: unknown[] = [];
  for (const closer of closers.reverse()) {
    try {
      await closer();
    } catch (error: unknown) {
      errors.push(error);
    }
  }
  if (errors.length > 0) throw new AggregateError(errors, "the control plane did not close cleanly");
}

async function start(settings: ControlPlaneSettings, closers: Closers): Promise<Omit<ControlPlane, "close">> {
  const { listen, admin, logLevel, jwtTtlMs, federationRefreshHint } = withDefaults(settings);
  const listenAt = parseHostPort(listen, "--listen");
  const adminAt = parseHostPort(admin, "--admin");
  const clock = settings.clock ?? systemClock;
  const log = createLogger(logLevel);

  const dataDir = await lockDataDir(settings.dataDir);
  closers.push(() => dataDir.release());
  closers.push(await sweepLeftovers(dataDir.path, clock));
  const jwtSets = new LatestValue<ReadonlyMap<string, string>>(new Map());
  const ca = await startCa({ settings, dataDir: dataDir.path, jwtKeys: jwtSets, clock, log });
  closers.push(() => ca.close());
  if (ca.store !== undefined)
    closers.push(watchCaLife(ca.store.state, clock, (level, text) => log[level](text)));
  const { certificates, mesh, revoked, joins } = ca;
  const { trustDomain } = mesh;
  const jwtKeys = await openJwtKeys({
    file: path.join(dataDir.path, settings.ca === "consul" ? "consul-ca" : "ca", jwtKeyFile),
    passphrase: settings.caPassphrase,
    clock,
    onError: (err) => log.error({ err }, "a new key for JWT-SVIDs could not be written"),
  });
  closers.push(() => jwtKeys.close());
  const foreignKeys = new LatestValue<ReadonlyMap<string, string>>(new Map());
  feedJwtKeySets(jwtSets, { trustDomain, own: jwtKeys.published, federated: foreignKeys });
  const federated = await startFederation({
    ...{ dataDir: dataDir.path, trustDomain, certificates, clock, log },
    trust: ca.trust.trust,
    roots: ca.federated,
    jwtKeys: foreignKeys,
    listen: settings.federationListen,
    refreshHint: federationRefreshHint,
  });
  closers.push(() => federated.close());

  const observed = await openCallFiles({
    dir: path.join(dataDir.path, "observed"),
    clock,
    onProblem: (text) => log.warn(text),
  });
  closers.push(() => observed.close());

  const ownPorts = createOwnPorts();
  const audit = openAuditLog(dataDir.path, clock);
  const store = await PolicyStore.open(settings.policiesDir ?? path.join(dataDir.path, "policies"), {
    clock,
    lastGood: path.join(dataDir.path, "policies-last-good"),
    onEdited: (edits) =>
      void audit
        .record(entryOfEdits(edits, clock.wallMs()))
        .catch((err: unknown) => log.error({ err }, "edits of policy files are not in the audit log yet")),
  });
  closers.push(() => store.close());
  if (store.problems.get().length > 0) logPolicyProblems(log, store.problems.get());
  closers.push(store.problems.watch((problems) => logPolicyProblems(log, problems)));
  const registry = await openCatalog({
    consul: settings.consul,
    dataDir: dataDir.path,
    clock,
    log,
    refuse: ownPorts.refuse,
  });
  const { catalog } = registry;
  const intentions = openIntentions(settings, clock, log);
  closers.push(() => intentions?.close());
  const protocols =
    settings.ca === "consul" && settings.consul !== undefined
      ? watchConsulProtocols({ agent: settings.consul, clock, log: log.child({ part: "protocols" }) })
      : undefined;
  closers.push(() => protocols?.close());
  const datacenters =
    settings.consul &&
    (await openDatacenters({
      ...{ consul: settings.consul, dataDir: dataDir.path, documents: store.documents },
      ...{ clock, log, refuse: ownPorts.refuse },
    }));
  closers.push(() => datacenters?.close());
  const source = new MeshSource({
    mesh: { ...mesh, defaultAction: settings.defaultAction ?? "allow" },
    ...{ catalog: catalog.state, documents: store.documents, clock },
    intentions: intentions?.state,
    connectProtocols: protocols?.state,
    datacenters: datacenters?.state,
  });

  const metrics = createControlPlaneMetrics();
  const streams = openSidecarStreams({ source, trust: ca.trust, peerOf, clock, log, metrics });
  const overview = createOverview({
    mesh,
    startedAtMs: clock.wallMs(),
    trust: ca.trust.trust,
    catalog,
    intentions: intentions?.state,
    datacenters: datacenters?.state,
    store,
    certificates,
    sidecars: streams.views,
    clock,
  });
  const rotation =
    ca.store &&
    createRotation({
      store: ca.store,
      trustVersion: () => ca.trust.trust.get().version,
      sidecars: streams.views,
      bundleRefreshMs: settings.federationListen === undefined ? undefined : federationRefreshHint * 1000,
      clock,
      onStep: (done, { step, active, lagging }) =>
        log.info({ done, step, root: active.rootFingerprint, lagging: lagging.length }, "rotation of the CA"),
    });
  readMetrics(metrics.registry, { ...overview.metricSources, ca: rotation && (() => rotation.view()) });

  const logRefusal = createRefusalLog(log, clock);
  const consul = settings.consul && createConsulProof(settings.consul, clock);
  closers.push(() => consul?.close());
  const listener = createGrpcListener({
    listen: listenAt,
    certificates,
    trust: ca.trust.trust,
    ...(ca.identityFor !== undefined && { identityFor: ca.identityFor }),
    clock,
    revoked,
    interceptors: [requireIdentity(peerOf, [enrollmentService.Issue.path], revoked)],
    onRefused: ({ reason, detail }, address) => {
      metrics.connectionsRefused.inc({ reason });
      logRefusal({ reason: detail, address }, "connection refused");
    },
  });
  closers.push(() => listener.close());
  // Before the listener: streams that end by our own closing are no news to the registry or to anybody.
  closers.push(() => source.close());
  closers.push(() => registry.close());
  closers.push(() => streams.ads.close());
  const { server } = listener;
  server.addService(streams.ads.definition, streams.ads.implementation);
  const onEvent = (event: EnrollmentEvent): void => {
    logEnrollment(log, logRefusal, event);
    if (event.kind === "issued") metrics.certificatesIssued.inc({ by: event.by });
    else metrics.certificatesRefused.inc();
  };
  server.addService(
    enrollmentService,
    joins === undefined
      ? consulEnrollment
      : createEnrollmentHandler({ ...joins, consul, peerOf, clock, onEvent }),
  );
  server.addService(
    registrationService,
    createRegistrationHandler({ catalog: registry.embedded, peerOf, clock, refuse: ownPorts.refuse }),
  );
  const onIssued = (id: string, audience: readonly string[]): void => {
    metrics.jwtSvidsIssued.inc();
    log.debug({ id, audience }, "JWT-SVID issued");
  };
  server.addService(
    jwtSvidService,
    createJwtHandler({ keys: jwtKeys, ttlMs: jwtTtlMs, peerOf, clock, onIssued }),
  );
  server.addService(observationService, createObservationHandler({ files: observed, peerOf, clock }));
  const listenAddress = await listener.start();
  ownPorts.add(listenAddress);

  const token = await loadOrCreateAdminToken(dataDir.path);
  const adminTokens = await openAdminTokens({
    file: path.join(dataDir.path, "admin-tokens.json"),
    owner: token,
    clock,
  });
  const routes = adminRoutes({
    ...overview,
    store,
    settled: async () => datacenters?.settled(),
    tokens: joins?.tokens,
    certificates: joins && { ...joins, ...mesh, sidecars: streams.views, clock },
    ...{ adminTokens, audit },
    bundlePem: () =>
      ca.store === undefined ? (certificates.get()?.bundlePem ?? "") : bundleOf(ca.store.state.get()),
    rotation,
    servedCertificates: () =>
      readServedCertificates({
        ...{ certificates, trustDomain, clock },
        catalog: () => catalog.state.get(),
        exported: joins && (() => exportedCertificates(joins, clock.wallMs())),
      }),
    spiffeBundle: () => federated.own.text(),
    metrics: metrics.registry,
  });
  const ofFederation = federationRoutes(federated.federation);
  const model = () => source.model.get();
  const ofPolicies = [
    ...policyRoutes({ observed: observed.table, trustDomain, store, model, clock }),
    ...explainRoutes(model),
  ];
  const adminServer = new AdminServer({
    ...{ tokens: adminTokens, routes: [...routes, ...ofPolicies, ...ofFederation], audit, clock },
    onError: (error) => log.error({ err: error }, "admin API"),
  });
  closers.push(() => adminServer.close());
  const adminAddress = await adminServer.start(adminAt);
  ownPorts.add(adminAddress);
  if (!/^(127\.|\[::1\])/.test(adminAddress))
    log.warn(
      { adminAddress },
      "the admin API is open to other machines without TLS: whoever sees its traffic has the tokens in it",
    );
  if (federated.address !== undefined) {
    ownPorts.add(federated.address);
    log.info({ address: federated.address }, "other meshes read our bundle here");
  }
  log.info({ listenAddress, adminAddress, trustDomain, registry: catalog.kind }, "control plane started");
  closers.push(() => log.info("control plane stops"));
  return { listenAddress, adminAddress, adminTokenFile: token.file, trustDomain };
}

/** Consul's intentions, where Consul's mesh is ours, or an operator wants them. */
function openIntentions({ ca, intentions, consul }: ControlPlaneSettings, clock: Clock, log: Logger) {
  if (ca !== "consul" && intentions !== true) return undefined;
  if (consul === undefined)
    throw new ConfigError("intentions are Consul's: give --consul URL", { place: "--intentions" });
  return watchConsulIntentions({ agent: consul, clock, log: log.child({ part: "intentions" }) });
}

/** The CA of the data folder with all that it needs to issue, or Consul's. */
async function startCa(options: {
  readonly settings: ControlPlaneSettings;
  readonly dataDir: string;
  readonly jwtKeys: LatestValue<ReadonlyMap<string, string>>;
  readonly clock: Clock;
  readonly log: Logger;
}): Promise<MeshCa> {
  const { settings, dataDir, jwtKeys, clock, log } = options;
  const onEvent = (event: RenewalEvent): void => logRenewal(log, event);
  if (settings.ca === "consul") {
    const { consul } = settings;
    const consulCa = await startConsulCa({ consul, dataDir, jwtKeys, clock, log, onEvent });
    return { ...consulCa, joins: undefined, store: undefined, identityFor: undefined };
  }
  return startRemoraCa({
    ...{ dataDir, jwtKeys, clock, onEvent },
    trustDomain: withDefaults(settings).trustDomain,
    leafTtlMs: settings.leafTtlMs,
    leafKeyType: settings.leafKeyType,
    passphrase: settings.caPassphrase,
    onFailed: (error) => log.error({ err: error }, "no certificate of the previous CA"),
  });
}
