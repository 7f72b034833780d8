import { execFileSync, spawnSync } from "node:child_process";
import t from "tap";
import {
  grpcStatusLabel,
  responseCodeLabel,
  responseFlagsLabel,
} from "../../src/telemetry/bounded-labels.js";
import { ClusterMetricsByName } from "../../src/telemetry/cluster-metrics.js";
import { watchEventLoop } from "../../src/telemetry/event-loop.js";
import { CounterFamily, GaugeFamily, HistogramFamily, overflowLabel } from "../../src/telemetry/family.js";
import { ListenerMetrics } from "../../src/telemetry/listener-metrics.js";
import { MetricsByPeer } from "../../src/telemetry/metrics-by-peer.js";
import { Metrics } from "../../src/telemetry/metrics.js";
import { exposeConfigVersion, exposeProcess } from "../../src/telemetry/process-metrics.js";
import { MetricsRegistry } from "../../src/telemetry/registry.js";
import { RequestMetrics, type RequestParties } from "../../src/telemetry/request-metrics.js";
import { FakeClock } from "../support/fake-clock.js";
import { parsePrometheusText, type ScrapedFamily, type ScrapedSample } from "../support/prometheus-text.js";

const web = {
  workload: "web",
  namespace: "default",
  principal: "spiffe://m/ns/default/svc/web",
  version: "",
};
const api = {
  workload: "api",
  namespace: "default",
  principal: "spiffe://m/ns/default/svc/api",
  version: "v2",
};
const parties: RequestParties = {
  reporter: "source",
  source: web,
  destination: api,
  trustDomain: "mesh.local",
  protocol: "http",
  security: "mutual_tls",
};

async function scrape(metrics: Metrics): Promise<Map<string, ScrapedFamily>> {
  return parsePrometheusText(await new MetricsRegistry(metrics).text());
}

const samplesOf = (families: Map<string, ScrapedFamily>, name: string): readonly ScrapedSample[] =>
  families.get(name)?.samples ?? [];

/** Values by the given label. */
function by(samples: readonly ScrapedSample[], label: string): Record<string, number> {
  return Object.fromEntries(samples.map(({ labels, value }) => [labels.get(label) ?? "", value]));
}

t.test("families hand out one cell per label set, up to their bound", async (t) => {
  const family = new CounterFamily({ name: "c", help: "h", labels: ["a", "b"], maxSeries: 2 });
  const cell = family.cell({ a: "1", b: "2" });
  t.equal(family.cell({ b: "2", a: "1" }), cell, "the same cell for the same labels");
  t.not(family.cell({ a: "2", b: "1" }), cell);
  const overflow = family.cell({ a: "3", b: "3" });
  t.equal(family.cell({ a: "4", b: "4" }), overflow, "what no longer fits shares a cell");
  t.equal(family.cell({ a: overflowLabel, b: overflowLabel }), overflow);
  t.equal(family.overflows, 2);
  t.equal(family.size, 3);
  family.remove({ a: "2", b: "1" });
  family.remove({ a: "never", b: "seen" });
  t.equal(family.size, 2);
  t.equal(family.cell({ a: "1", b: "2" }), cell, "removing others leaves it alone");
  const long = family.cell({ a: "x".repeat(5000), b: "" });
  t.equal(family.cell({ a: "x".repeat(5001), b: "" }), long, "long values are cut");

  const gauge = new GaugeFamily({ name: "g", help: "h", labels: ["a"] });
  gauge.read({ a: "read" }, () => 7);
  gauge.read({ a: "unknown" }, () => NaN);
  gauge.cell({ a: "set" }).value = 3;
  t.same(
    gauge.samples().map(({ value }) => value),
    [7, 3],
  );
  gauge.clear();
  t.same(gauge.samples(), []);
  gauge.cell({ a: "read" }).value = 1;
  t.same(
    gauge.samples().map(({ value }) => value),
    [1],
    "a cleared reader is gone",
  );

  const histogram = new HistogramFamily({ name: "h", help: "h", labels: [], bounds: Float64Array.of(1, 5) });
  const observed = histogram.cell({});
  for (const value of [0, 1, 1.5, 5, 6, 1e9]) observed.observe(value);
  t.same(
    histogram.samples().map(({ metricName, labels, value }) => [metricName, labels["le"], value]),
    [
      ["h_bucket", "1", 2],
      ["h_bucket", "5", 4],
      ["h_bucket", "+Inf", 6],
      ["h_sum", undefined, 1_000_000_013.5],
      ["h_count", undefined, 6],
    ],
  );
});

t.test("labels from traffic come from fixed sets", async (t) => {
  const codes = new Set<string>();
  for (let status = -5; status < 1200; status++) codes.add(responseCodeLabel(status));
  t.ok(codes.size < 90, `${codes.size} values for every status there may be`);
  t.same([0, 200, 299, 404, 499, 599, 100, 600, 999].map(responseCodeLabel), [
    ...["0", "200", "2xx", "404", "499", "5xx", "1xx", overflowLabel, overflowLabel],
  ]);
  t.same(["-", "UF", "UF,URX", "URX", "DC", "evil", "UF,UF", ""].map(responseFlagsLabel), [
    ...["-", "UF", "UF,URX", "URX", "DC", overflowLabel, overflowLabel, overflowLabel],
  ]);
  t.same([-1, 0, 14, 16, 17, 1.5].map(grpcStatusLabel), ["", "0", "14", "16", overflowLabel, overflowLabel]);
});

t.test("what is counted is what Prometheus reads", async (t) => {
  const metrics = new Metrics();
  const clock = new FakeClock();
  exposeProcess(clock, metrics, "1.2.3");
  exposeConfigVersion(metrics, "aaa");
  exposeConfigVersion(metrics, "bbb");
  metrics.configAge.read({}, () => clock.monotonicMs() / 1000);
  const requests = new RequestMetrics(metrics, parties);
  requests.record(200, "-", 3, 10, 100);
  requests.record(200, "-", 30, 10, 100);
  requests.record(503, "UH", 0.2, 0, 20);
  requests.record(503, "UH", 0.2, 0, 20);
  requests.record(0, "DC", 5, 0, 0);
  requests.record(200, "-", 1, 1, 1, 14);
  requests.record(777, "-", 1, 1, 1);
  const inbound = new MetricsByPeer(parties, (each) => new RequestMetrics(metrics, each));
  inbound.of(web.principal).record(200, "-", 2, 1, 1);
  inbound.of(web.principal).record(200, "-", 2, 1, 1);
  inbound.of(undefined).record(403, "UAEX", 2, 1, 1);
  const clusters = new ClusterMetricsByName(metrics, "web");
  const cluster = clusters.of("api.default", "api");
  t.equal(clusters.of("api.default", "api"), cluster);
  cluster.requests.value += 3;
  cluster.response(200, 4);
  cluster.response(503, 4);
  cluster.response(999, 4);
  cluster.membershipTotal.value = 3;
  cluster.membershipHealthy.value = 1;
  cluster.ejectionsActive.value = 2;
  cluster.panic.value = 1;
  cluster.breakerTransitions.open.value++;
  const listener = new ListenerMetrics(metrics, "web", "public_listener");
  listener.requests.value++;
  listener.response(204);
  metrics.errors.cell({ code: 'quote " backslash \\ and\nline', direction: "inbound" }).value++;
  clock.advance(5000);

  const families = await scrape(metrics);
  for (const { name, type } of metrics.families()) t.equal(families.get(name)?.type, type, name);
  t.ok(families.has("process_cpu_seconds_total") && families.has("nodejs_heap_size_used_bytes"));

  const total = samplesOf(families, "istio_requests_total");
  t.equal(
    total.reduce((sum, { value }) => sum + value, 0),
    10,
  );
  const plain = total.find(
    ({ labels }) =>
      labels.get("reporter") === "source" &&
      labels.get("response_code") === "200" &&
      labels.get("grpc_response_status") === "",
  );
  t.equal(plain?.value, 2);
  const grpc = total.filter(({ labels }) => labels.get("request_protocol") === "grpc");
  t.same(
    grpc.map(({ labels, value }) => [labels.get("grpc_response_status"), value]),
    [["14", 1]],
  );
  t.match(Object.fromEntries(plain?.labels ?? []), {
    source_workload: "web",
    source_canonical_revision: "latest",
    destination_service: "api.default.mesh.local",
    destination_version: "v2",
    destination_canonical_revision: "v2",
    request_protocol: "http",
    response_flags: "-",
    connection_security_policy: "mutual_tls",
  });
  t.equal(plain?.labels.size, 25, "every label is always there");
  t.same(
    total
      .filter(({ labels }) => labels.get("reporter") === "destination")
      .map(({ labels, value }) => [
        labels.get("source_workload"),
        labels.get("connection_security_policy"),
        value,
      ]),
    [
      ["web", "mutual_tls", 2],
      ["unknown", "none", 1],
    ],
  );
  const [bucket] = samplesOf(families, "istio_request_duration_milliseconds").filter(
    ({ labels }) => labels.get("response_code") === "200" && labels.get("le") === "5",
  );
  t.equal(bucket?.value, 1, "3 ms is within 5 ms, 30 ms is not");
  t.same(by(samplesOf(families, "envoy_cluster_upstream_rq_xx"), "envoy_response_code_class"), {
    0: 1,
    1: 0,
    2: 1,
    3: 0,
    4: 0,
    5: 1,
  });
  t.match(Object.fromEntries(samplesOf(families, "envoy_cluster_membership_total")[0]?.labels ?? []), {
    local_cluster: "web",
    envoy_cluster_name: "api.default",
    consul_source_service: "web",
    consul_destination_service: "api",
    consul_destination_datacenter: "dc1",
  });
  const clusterGauges = ["membership_total", "membership_healthy", "outlier_detection_ejections_active"];
  t.same(
    clusterGauges.map((name) => samplesOf(families, `envoy_cluster_${name}`)[0]?.value),
    [3, 1, 2],
  );
  t.same(by(samplesOf(families, "remora_panic"), "cluster"), { "api.default": 1 });
  t.same(by(samplesOf(families, "remora_breaker_transitions_total"), "to"), {
    open: 1,
    half_open: 0,
    closed: 0,
  });
  t.equal(by(samplesOf(families, "envoy_http_downstream_rq_xx"), "envoy_response_code_class")["2"], 1);
  t.same(by(samplesOf(families, "remora_config_info"), "version"), { bbb: 1 }, "only the version in force");
  t.equal(samplesOf(families, "remora_config_age_seconds")[0]?.value, 5);
  t.equal(samplesOf(families, "envoy_server_uptime")[0]?.value, 5);
  t.equal(
    samplesOf(families, "remora_certificate_renewal_failures_total")[0]?.value,
    0,
    "0 before the first",
  );

  clusters.keepOnly(new Set(["other.default"]));
  requests.forget();
  const after = await scrape(metrics);
  for (const { name, samples } of after.values()) {
    const left = samples.filter(
      ({ labels }) =>
        labels.get("envoy_cluster_name") === "api.default" ||
        labels.get("cluster") === "api.default" ||
        labels.get("reporter") === "source",
    );
    if (left.length > 0) t.fail(`${name} keeps series of a cluster that is gone`);
  }
});

t.test("10,000 random callers, statuses and flags keep the number of series flat", async (t) => {
  const metrics = new Metrics();
  const inbound = new MetricsByPeer(parties, (each) => new RequestMetrics(metrics, each));
  const outbound = new RequestMetrics(metrics, parties);
  const clusters = new ClusterMetricsByName(metrics, "web");
  const load = (from: number): void => {
    for (let i = from; i < from + 10_000; i++) {
      inbound.of(`spiffe://m/ns/default/svc/random-${i}`).record(i % 1000, `flag-${i}`, 1, 1, 1);
      outbound.record(i % 1000, "-", 1, 1, 1, i);
      clusters.of(`host-${i % 3000}.default`, `host-${i % 3000}`).response(i, 1);
      metrics.errors.cell({ code: `code-${i}`, direction: "inbound" }).value++;
      metrics.peerRefusals.cell({ reason: `random ${i}` }).value++;
    }
  };
  const series = (): number => metrics.families().reduce((sum, { size }) => sum + size, 0);
  load(0);
  const first = series();
  load(10_000);
  t.equal(series(), first, `still ${first} cells`);
  const families = await scrape(metrics);
  const requests = samplesOf(families, "istio_requests_total");
  t.ok(requests.length <= 2001, `${requests.length} request series`);
  t.equal(
    requests.reduce((sum, { value }) => sum + value, 0),
    40_000,
    "nothing is lost",
  );
  t.ok((by(samplesOf(families, "remora_series_overflows"), "metric")["remora_errors_total"] ?? 0) > 9000);
});

t.test("stalls of the event loop are seen", async (t) => {
  const metrics = new Metrics();
  let nowMs = 0;
  let tick = (): void => undefined;
  const clock = new FakeClock();
  const late = {
    wallMs: () => clock.wallMs(),
    random: () => 0,
    monotonicMs: () => nowMs,
    timer: (_: number, fn: () => void) => {
      tick = fn;
      return { cancel: () => (tick = () => undefined) };
    },
  };
  const watch = watchEventLoop(late, metrics);
  const after = (ms: number): void => {
    nowMs += ms;
    tick();
  };
  after(101);
  after(350);
  after(1500);
  after(100);
  t.equal(metrics.eventLoopStalls.cell({ over: "200ms" }).value, 2);
  t.equal(metrics.eventLoopStalls.cell({ over: "1s" }).value, 1);
  t.equal(metrics.eventLoopLag.samples()[0]?.value, 1.4);
  t.equal(metrics.eventLoopLag.samples()[0]?.value, 0, "anew after each scrape");
  watch.close();
  after(5000);
  t.equal(metrics.eventLoopStalls.cell({ over: "1s" }).value, 1);
});

t.test("recording a request is cheap", async (t) => {
  const requests = new RequestMetrics(new Metrics(), parties);
  const run = (count: number): number => {
    const startMs = performance.now();
    for (let i = 0; i < count; i++) requests.record(200, "-", 3, 100, 1000);
    return ((performance.now() - startMs) / count) * 1000;
  };
  run(50_000);
  const bestUs = Math.min(run(50_000), run(50_000), run(50_000));
  t.ok(bestUs < 0.3, `${bestUs.toFixed(3)} us per request`);
});

const promtool = spawnSync("promtool", ["--version"]).error === undefined;
t.test("promtool accepts it", { skip: promtool ? false : "promtool is not on PATH" }, async (t) => {
  const metrics = new Metrics();
  new RequestMetrics(metrics, parties).record(200, "-", 3, 10, 100);
  const text = await new MetricsRegistry(metrics).text();
  // Lint remarks on names that are Istio's and Envoy's own are no errors of the format (exit code 3).
  try {
    execFileSync("promtool", ["check", "metrics"], { input: text });
  } catch (error: unknown) {
    t.equal((error as { status?: number }).status, 3);
  }
  t.pass("parsed");
});
