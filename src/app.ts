import { messageOf } from "./errors/message-of.js";
import { startAdminServer, type AdminServer } from "./admin/admin-server.js";
import type { ListenerView } from "./admin/admin-view.js";
import type { Bootstrap } from "./config/bootstrap.js";
import { keepConnectIdentity } from "./consul/connect-identity.js";
import { ControlPlaneLink } from "./control-plane-link.js";
import { reportCalls, type CallReporter } from "./discovery/call-reporter.js";
import { openControlPlaneChannel, type ControlPlaneChannel } from "./discovery/channel.js";
import { keepIdentity, type IdentityKeeper } from "./discovery/identity-keeper.js";
import { jwtSvids } from "./discovery/jwt-svids.js";
import { keepTrust, type TrustKeeper } from "./discovery/trust-keeper.js";
import { lifeLeft } from "./identity/renewal-schedule.js";
import type { RenewalEvent } from "./identity/renewal.js";
import type { Svid } from "./identity/svid.js";
import { LatestValue } from "./lifecycle/latest-value.js";
import { ConnectionLimit } from "./proxy/connection-limit.js";
import { listenWithin } from "./proxy/listener.js";
import { refuseOwnPorts } from "./own-ports.js";
import { qualifiedService } from "./qualified-service.js";
import { announce, type Announcement } from "./registration/announcer.js";
import { adminView } from "./sidecar-admin.js";
import type { Log, Missing, Sidecar, SidecarPorts } from "./sidecar.js";
import { exposeHealth } from "./telemetry/process-metrics.js";
import { sleep, systemClock, type Clock } from "./time/clock.js";
import { TrafficSide } from "./traffic-side.js";
import type { Traffic } from "./traffic.js";
import { WorkerTraffic } from "./worker-traffic.js";
import type { WorkloadApi } from "./workload-api/workload-api.js";

export interface SidecarOptions {
  readonly bootstrap: Bootstrap;
  readonly log: Log;
  /** Read and set by the admin API. */
  readonly logLevel: { get(): string; set(level: string): boolean };
  /** The admin API was asked to end the process. */
  readonly onQuit: () => void;
  readonly clock?: Clock;
}

/**
 * Starts a sidecar: the one place where its parts meet. Resolves when its listeners are bound; traffic flows once `missing`
 * is empty. Throws ConfigError, with everything closed again, when it cannot.
 */
export async function startSidecar(options: SidecarOptions): Promise<Sidecar> {
  const { bootstrap, log, clock = systemClock } = options;
  // Events can come before there is a sidecar to take them: a certificate from the disk may be about to expire.
  const early: RenewalEvent[] = [];
  let onEvent = (event: RenewalEvent): void => void early.push(event);
  const { consulCa, service, stateDir, enrollTimeoutMs = 0 } = bootstrap;
  const told = {
    clock,
    onEvent: (event: RenewalEvent) => onEvent(event),
    onWaiting: (reason: string) => log("warn", "waiting for the first certificate", { reason }),
    onSaveFailed: (error: unknown) =>
      log("error", "the new certificate is in use but could not be saved: a restart will not find it", {
        error: messageOf(error),
      }),
  };
  const keeper =
    consulCa === undefined
      ? await keepIdentity({ ...bootstrap, ...told })
      : await keepConnectIdentity({ agent: consulCa, service, stateDir, waitMs: enrollTimeoutMs, ...told });
  let sidecar: RunningSidecar | undefined;
  try {
    const trust = await keepTrust({
      stateDir,
      identity: keeper,
      hasOwnRoots: consulCa !== undefined,
      onProblem: (problem) => log("warn", problem),
    });
    sidecar = new RunningSidecar(options, clock, keeper, trust);
    onEvent = sidecar.renewalEvent.bind(sidecar);
    early.forEach(onEvent);
    await sidecar.start();
  } catch (error) {
    if (sidecar === undefined) keeper.close();
    else await sidecar.close();
    throw error;
  }
  return sidecar;
}

type LifeEvent = Extract<RenewalEvent, { readonly kind: "level" }>;

class RunningSidecar implements Sidecar {
  readonly identity: string;
  readonly missing = new LatestValue<Missing>([]);
  readonly #options: SidecarOptions;
  readonly #bootstrap: Bootstrap;
  readonly #log: Log;
  readonly #clock: Clock;
  readonly #keeper: Pick<IdentityKeeper, "source" | "refused" | "close">;
  readonly #trust: TrustKeeper;
  readonly #nodeId: string;
  readonly #traffic: Traffic;
  readonly #channel: ControlPlaneChannel;
  readonly #link: ControlPlaneLink;
  #reporter: CallReporter | undefined;
  #admin: AdminServer | undefined;
  #workloadApi: WorkloadApi | undefined;
  /** The entry in the registry, or the attempt to get it. */
  #announcement: Promise<Announcement> | undefined;
  #isDraining = false;
  #isRenewalFailing = false;
  /** The last that was told of the certificate's life. */
  #life: LifeEvent | undefined;
  #isClosed = false;

  constructor(
    options: SidecarOptions,
    clock: Clock,
    keeper: Pick<IdentityKeeper, "source" | "refused" | "close">,
    trust: TrustKeeper,
  ) {
    const { bootstrap, log } = options;
    const certificates = keeper.source;
    const { workers = 1 } = bootstrap;
    this.#options = options;
    this.#bootstrap = bootstrap;
    this.#log = log;
    this.#clock = clock;
    this.#keeper = keeper;
    this.#trust = trust;
    this.identity = certificates.get()?.id ?? "";
    this.#nodeId = nodeId(bootstrap);
    const carried = { bootstrap, nodeId: this.#nodeId, certificates, trust: trust.trust, clock, log };
    const limit = new ConnectionLimit();
    this.#traffic =
      workers > 1
        ? new WorkerTraffic({ ...carried, limit, workers })
        : new TrafficSide({ ...carried, listen: listenWithin(limit) });
    const { metrics } = this.#traffic;
    this.#channel = openControlPlaneChannel({
      controlPlane: bootstrap.controlPlane,
      certificates,
      trust: trust.trust,
      clock,
    });
    this.#link = new ControlPlaneLink({
      bootstrap,
      nodeId: this.#nodeId,
      channel: this.#channel,
      traffic: this.#traffic,
      trust,
      onCertificateRefused: () => keeper.refused(),
      metrics,
      clock,
      log,
    });
    exposeHealth(metrics, {
      isLive: () => !this.#isDraining,
      notAfterMs: () => certificates.get()?.notAfterMs ?? 0,
      lifeLeft: () => {
        const svid = certificates.get();
        return svid === undefined ? 0 : lifeLeft(svid, clock.wallMs());
      },
    });
    const gather = (): void =>
      this.missing.set([...this.#link.missing.get(), ...this.#traffic.missing.get()]);
    this.#link.missing.watch(gather);
    this.#traffic.missing.watch(gather);
    gather();
  }

  get ports(): SidecarPorts {
    return { ...this.#traffic.ports, admin: this.#admin?.port ?? 0 };
  }

  get tcpUpstreams(): ReadonlySet<string> {
    const { upstreams, namespace } = this.#bootstrap;
    const clusters = this.#traffic.snapshot?.clusters ?? [];
    const tcp = new Set(clusters.filter(({ protocol }) => protocol === "tcp").map(({ name }) => name));
    const isTcp = (service: string): boolean => tcp.has(qualifiedService(service, namespace));
    return new Set(upstreams.map(({ service }) => service).filter(isTcp));
  }

  /** Ports first: a port in use is the operator's mistake and should show before anything else happens. */
  async start(): Promise<void> {
    this.#admin = await startAdminServer({
      view: this.#adminView(),
      metrics: this.#traffic.registry,
      clock: this.#clock,
      port: this.#bootstrap.adminPort,
      onMutation: (request, status) => this.#log("warn", "told by the admin API", { request, status }),
    });
    await this.#traffic.open(this.#admin.port);
    refuseOwnPorts(this.#bootstrap, this.#listenerViews());
    await this.#openWorkloadApi();
    await this.#link.start();
    const { observeCallsMs: everyMs } = this.#bootstrap;
    if (everyMs === undefined) return;
    this.#reporter = reportCalls({
      client: this.#channel.client,
      everyMs,
      take: () => this.#traffic.takeCalls(),
      clock: this.#clock,
      onProblem: (reason) => this.#log("warn", "what was called could not be reported", { reason }),
    });
  }

  /** Loaded only where it is asked for. */
  async #openWorkloadApi(): Promise<void> {
    const { workloadApi: socketPath } = this.#bootstrap;
    if (socketPath === undefined) return;
    const { openWorkloadApi } = await import("./workload-api/workload-api.js");
    this.#workloadApi = await openWorkloadApi({
      socketPath,
      certificates: this.#keeper.source,
      trust: this.#trust.trust,
      fetchJwt: jwtSvids({ client: this.#channel.client, clock: this.#clock }),
      clock: this.#clock,
    });
  }

  get workloadApi(): string | undefined {
    return this.#bootstrap.workloadApi;
  }

  async announce(): Promise<void> {
    // Whoever is about to leave must not come back into the registry.
    if (this.#isDraining) return;
    const announcement = (this.#announcement ??= announce({
      bootstrap: this.#bootstrap,
      nodeId: this.#nodeId,
      inboundPort: this.ports.inbound,
      client: this.#channel.client,
      clock: this.#clock,
      log: (message) => this.#log("warn", message),
    }));
    try {
      await announcement;
    } catch (error) {
      if (this.#announcement === announcement) this.#announcement = undefined;
      throw error;
    }
  }

  async withdraw(): Promise<void> {
    this.#isDraining = true;
    if (!(await this.#leaveRegistry())) return;
    // Peers that have not heard of it yet still send requests: they are served.
    await sleep(this.#clock, this.#bootstrap.drainDelayMs);
  }

  /** Waits for a registration under way: it would outlive us. False when there is nothing to leave. */
  async #leaveRegistry(): Promise<boolean> {
    const announcement = await this.#announcement?.catch(() => undefined);
    this.#announcement = undefined;
    await announcement?.withdraw();
    return announcement !== undefined;
  }

  async drainInbound(): Promise<void> {
    this.#isDraining = true;
    await this.#traffic.drainInbound();
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#isDraining = true;
    await this.#leaveRegistry();
    await this.#reporter?.close();
    // Neither waits for the other: a push that comes now must find nothing to be put in force in.
    await Promise.all([this.#traffic.close(), this.#link.close()]);
    await this.#workloadApi?.close();
    this.#keeper.close();
    await this.#trust.close();
    this.#channel.close();
    await this.#admin?.close();
  }

  renewalEvent(event: RenewalEvent): void {
    if (event.kind === "renewed") {
      this.#isRenewalFailing = false;
      const { serial, notAfterMs } = event.svid;
      this.#log("info", "certificate renewed", { serial, notAfter: isoTime(notAfterMs) });
      void this.#checkServed(event.svid);
    } else if (event.kind === "failed") {
      const { attempt, retryInMs } = event;
      this.#traffic.metrics.certificateRenewalFailures.cell({}).value++;
      this.#log("warn", "certificate renewal failed", {
        error: messageOf(event.error),
        attempt,
        retryInMs: Math.round(retryInMs),
      });
      const isFirst = !this.#isRenewalFailing;
      this.#isRenewalFailing = true;
      if (isFirst && this.#life?.level === "warning") this.#tellLife(this.#life);
    } else {
      this.#life = event;
      // A healthy leaf too may get old before its random time of renewal comes.
      if (event.level !== "ok" && (event.level !== "warning" || this.#isRenewalFailing))
        this.#tellLife(event);
    }
  }

  #tellLife({ level, notAfterMs }: LifeEvent): void {
    this.#log(
      level === "warning" ? "warn" : "error",
      `certificate life: ${level}; renewal has not succeeded`,
      { notAfter: isoTime(notAfterMs) },
    );
  }

  /** What counts is what peers see (consul#16779: a fresh certificate on disk, an expired one served). */
  async #checkServed(svid: Svid): Promise<void> {
    const startMs = this.#clock.monotonicMs();
    const served = await this.#traffic.checkServed(svid);
    // Overtaken by the next rotation, or by the end.
    if (this.#isDraining || this.#keeper.source.get() !== svid) return;
    if (served.ok) {
      const delayMs = this.#clock.monotonicMs() - startMs;
      this.#traffic.metrics.certificateServedDelay.cell({}).value = delayMs / 1000;
      return;
    }
    this.#traffic.metrics.certificateNotServed.cell({}).value++;
    this.#log("error", "the inbound listener does not serve the renewed certificate: restart the sidecar", {
      serial: svid.serial,
      detail: served.detail,
    });
  }

  #adminView(): ReturnType<typeof adminView> {
    return adminView({
      bootstrap: this.#bootstrap,
      nodeId: this.#nodeId,
      traffic: this.#traffic,
      certificates: this.#keeper.source,
      missing: this.missing,
      listeners: () => this.#listenerViews(),
      staleSinceMs: () => this.#link.staleSinceMs,
      isDraining: () => this.#isDraining,
      drain: () => void this.drainInbound(),
      quit: this.#options.onQuit,
      logLevel: this.#options.logLevel,
      clock: this.#clock,
    });
  }

  #listenerViews(): readonly ListenerView[] {
    const { inbound, outbound, admin, upstreams } = this.ports;
    return [
      { name: "inbound", address: `${this.#bootstrap.inboundAddress}:${inbound}` },
      ...(outbound === undefined ? [] : [{ name: "outbound", address: `127.0.0.1:${outbound}` }]),
      ...[...upstreams].map(([service, port]) => ({
        name: `upstream:${service}`,
        address: `127.0.0.1:${port}`,
      })),
      { name: "admin", address: `127.0.0.1:${admin}` },
    ];
  }
}

/** Stable over restarts on one machine, unique in the mesh. */
function nodeId({ service, namespace, advertiseAddress, appPort }: Bootstrap): string {
  return `${service}.${namespace}-${advertiseAddress.replaceAll(":", "_")}-${appPort}`;
}

function isoTime(wallMs: number): string {
  return new Date(wallMs).toISOString();
}
