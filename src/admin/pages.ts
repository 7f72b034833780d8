import type {
  AdminView,
  BreakerReport,
  BreakerView,
  CertificateView,
  ClusterView,
  WorkerView,
} from "./admin-view.js";
import { redact } from "./redact.js";

/** What one path answers. */
export interface Page {
  readonly status: number;
  readonly type: "text" | "json";
  readonly body: string;
}

/** Plain text; a line feed is added. */
export const textPage = (body: string, status = 200): Page => ({ status, type: "text", body: `${body}\n` });

const jsonPage = (value: unknown): Page => ({
  status: 200,
  type: "json",
  body: `${JSON.stringify(value, null, 2)}\n`,
});

type PageOf = (view: AdminView, query: URLSearchParams, nowMs: number) => Page | Promise<Page>;

/** GET paths but the metrics, in the order in which they are listed. `query` is the request's. */
export const pages: ReadonlyMap<string, PageOf> = new Map<string, PageOf>([
  ["/ready", readyPage],
  ["/healthz/ready", readyPage],
  ["/live", () => textPage("LIVE")],
  ["/clusters", clustersPage],
  ["/breakers", breakersPage],
  ["/config_dump", (view: AdminView) => jsonPage({ configs: redact(view.configDump()) })],
  ["/certs", certsPage],
  ["/server_info", serverInfoPage],
  ["/listeners", listenersPage],
  ["/logging", (view: AdminView) => textPage(`level: ${view.logLevel()}`)],
]);

function readyPage(view: AdminView): Page {
  const { isReady, state, missing } = view.readiness();
  const reason = missing.length === 0 ? "" : `: waiting for ${missing.join(", ")}`;
  return textPage(`${state}${isReady ? "" : reason}`, isReady ? 200 : 503);
}

/** Envoy's text form `cluster::address::key::value`, or its JSON form with ?format=json. */
async function clustersPage(view: AdminView, query: URLSearchParams): Promise<Page> {
  const clusters = await view.clusters();
  if (query.get("format") === "json") return jsonPage({ cluster_statuses: clusters.map(clusterStatus) });
  const lines: string[] = [];
  for (const { name, settings, endpoints } of clusters) {
    for (const [key, value] of Object.entries(settings)) lines.push(`${name}::${key}::${value}`);
    for (const { address, port, stats, healthFlags, weight, zone } of endpoints) {
      const host = `${name}::${address.includes(":") ? `[${address}]` : address}:${port}`;
      const rows = { ...stats, health_flags: healthFlags, weight, zone };
      for (const [key, value] of Object.entries(rows)) lines.push(`${host}::${key}::${value}`);
    }
  }
  return textPage(lines.join("\n"));
}

function clusterStatus({ name, settings, endpoints }: ClusterView): unknown {
  return {
    name,
    settings,
    host_statuses: endpoints.map(({ address, port, isHealthy, healthFlags, weight, zone, stats }) => ({
      address: { socket_address: { address, port_value: port } },
      stats: Object.entries(stats).map(([stat, value]) => ({ name: stat, value })),
      health_status: { eds_health_status: isHealthy ? "HEALTHY" : "UNHEALTHY", flags: healthFlags },
      weight,
      locality: { zone },
    })),
  };
}

/** Breakers of services and endpoints, as `remora breaker list` shows them. */
async function breakersPage(view: AdminView): Promise<Page> {
  const services = (await view.clusters()).map(({ name, settings, breaker, endpoints }) => ({
    service: name,
    source: settings["source"] ?? "",
    breaker: breaker === undefined ? null : breakerEntry(breaker),
    endpoints: endpoints.map((endpoint) => ({
      endpoint: `${endpoint.address.includes(":") ? `[${endpoint.address}]` : endpoint.address}:${endpoint.port}`,
      breaker: endpoint.breaker === undefined ? null : breakerEntry(endpoint.breaker),
    })),
  }));
  return jsonPage({ services } satisfies BreakerReport);
}

function breakerEntry(view: BreakerView): BreakerView {
  const { sinceMs, remainingMs, share } = view;
  return {
    ...view,
    sinceMs: Math.round(sinceMs),
    remainingMs: Math.ceil(remainingMs),
    share: Math.round(share * 1000) / 1000,
  };
}

function certsPage(view: AdminView, _query: URLSearchParams, nowMs: number): Page {
  const certificates = view.certificates();
  const ofKind = (kind: CertificateView["kind"]): unknown[] =>
    certificates
      .filter((certificate) => certificate.kind === kind)
      .map((one) => certificateEntry(one, nowMs));
  return jsonPage({ certificates: [{ ca_cert: ofKind("root"), cert_chain: ofKind("leaf") }] });
}

function certificateEntry({ uri, serial, notBeforeMs, notAfterMs }: CertificateView, nowMs: number): unknown {
  return {
    serial_number: serial,
    subject_alt_names: uri === "" ? [] : [{ uri }],
    days_until_expiration: String(Math.max(0, Math.floor((notAfterMs - nowMs) / 86_400_000))),
    seconds_until_expiration: Math.floor((notAfterMs - nowMs) / 1000),
    valid_from: new Date(notBeforeMs).toISOString(),
    expiration_time: new Date(notAfterMs).toISOString(),
  };
}

function serverInfoPage(view: AdminView): Page {
  const info = view.serverInfo();
  return jsonPage({
    version: info.version,
    state: view.readiness().state,
    uptime_current_epoch: `${Math.floor(info.uptimeSeconds)}s`,
    node: { id: info.nodeId, cluster: info.service, namespace: info.namespace },
    config: {
      version: info.configVersion,
      stale: info.staleSinceMs !== undefined,
      stale_since: info.staleSinceMs === undefined ? null : new Date(info.staleSinceMs).toISOString(),
    },
    ...(info.workers.length === 0 ? {} : { workers: info.workers.map(workerEntry) }),
  });
}

function workerEntry({ worker, pid, state, configVersion, connections }: WorkerView): unknown {
  return { worker, pid, state, config_version: configVersion, connections };
}

function listenersPage(view: AdminView, query: URLSearchParams): Page {
  const listeners = view.listeners();
  if (query.get("format") !== "json")
    return textPage(listeners.map(({ name, address }) => `${name}::${address}`).join("\n"));
  return jsonPage({ listener_statuses: listeners.map(({ name, address }) => ({ name, address })) });
}
