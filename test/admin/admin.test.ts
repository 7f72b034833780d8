import { request as httpRequest } from "node:http";
import { connect } from "node:net";
import { text } from "node:stream/consumers";
import t, { type Test } from "tap";
import { startAdminServer, type AdminServer } from "../../src/admin/admin-server.js";
import type { AdminView, BreakerView, Readiness } from "../../src/admin/admin-view.js";
import { redact } from "../../src/admin/redact.js";
import type { BreakerAnswer, ServiceCommand } from "../../src/policy/breaker-command.js";
import { Metrics } from "../../src/telemetry/metrics.js";
import { MetricsRegistry } from "../../src/telemetry/registry.js";
import { systemClock } from "../../src/time/clock.js";
import { FakeClock } from "../support/fake-clock.js";
import { parsePrometheusText } from "../support/prometheus-text.js";

const dayMs = 86_400_000;
const clock = new FakeClock();
const keyPem = "-----BEGIN PRIVATE KEY-----\nMIGH\n-----END PRIVATE KEY-----\n";

class View implements AdminView {
  ready: Readiness = { isReady: false, state: "INITIALIZING", missing: ["certificate", "configuration"] };
  readonly calls: string[] = [];
  level = "info";
  readiness = (): Readiness => this.ready;
  serverInfo = (): ReturnType<AdminView["serverInfo"]> => ({
    version: "1.2.3",
    nodeId: "web-1",
    service: "web",
    namespace: "default",
    uptimeSeconds: 12.7,
    configVersion: "abc",
    staleSinceMs: clock.wallMs(),
    workers: [],
  });
  clusters = async (): ReturnType<AdminView["clusters"]> => [
    {
      name: "api.default",
      settings: { max_requests: 1024 },
      endpoints: [
        {
          address: "10.0.0.2",
          port: 20000,
          isHealthy: true,
          healthFlags: "healthy",
          weight: 1,
          zone: "a",
          stats: { rq_total: 5, cx_active: 2 },
        },
        {
          address: "fd00::1",
          port: 20001,
          isHealthy: false,
          healthFlags: "/failed_outlier_check",
          weight: 1,
          zone: "",
          stats: {},
        },
      ],
    },
  ];
  listeners = (): ReturnType<AdminView["listeners"]> => [{ name: "inbound", address: "0.0.0.0:20000" }];
  certificates = (): ReturnType<AdminView["certificates"]> => [
    {
      uri: "spiffe://m/ns/default/svc/web",
      serial: "0A",
      notBeforeMs: clock.wallMs() - dayMs,
      notAfterMs: clock.wallMs() + 1.5 * dayMs,
      kind: "leaf",
    },
    { uri: "spiffe://m", serial: "01", notBeforeMs: 0, notAfterMs: clock.wallMs() - 1, kind: "root" },
  ];
  configDump = (): unknown => ({
    bootstrap: { service: "web", tokenFile: "/run/token", token: "hunter2" },
    endpoints: new Map([["api.default", [{ address: "10.0.0.2" }]]]),
    identity: { keyPem, chain: keyPem, certChainPem: "-----BEGIN CERTIFICATE-----" },
    headers: { set: [["Authorization", "Bearer hunter2"]] },
  });
  logLevel = (): string => this.level;
  setLogLevel = (level: string): boolean => {
    if (level !== "debug") return false;
    this.level = level;
    return true;
  };
  setHealthcheckFailing = (isFailing: boolean): void => void this.calls.push(`failing ${isFailing}`);
  drive = async (command: ServiceCommand): Promise<BreakerAnswer> => {
    const { action, service = "all", endpoint = "all", forMs, isForced } = command;
    this.calls.push([action, service, endpoint, forMs, isForced].join(" "));
    return { isDone: service !== "ghost", text: `${action} ${service}` };
  };
  drain = (): void => void this.calls.push("drain");
  quit = (): void => void this.calls.push("quit");
}

interface Answer {
  readonly status: number;
  readonly headers: NodeJS.Dict<string | string[]>;
  readonly body: string;
}

function ask(
  server: AdminServer,
  method: string,
  path: string,
  headers: Readonly<Record<string, string>> = {},
  body?: Buffer,
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const request = httpRequest({
      host: "127.0.0.1",
      port: server.port,
      method,
      path,
      headers,
      agent: false,
    });
    request.on("error", reject);
    request.on("response", (response) => {
      text(response).then(
        (read) => resolve({ status: response.statusCode ?? 0, headers: response.headers, body: read }),
        reject,
      );
    });
    request.end(body);
  });
}

async function start(t: Test, view: AdminView, told: string[] = []): Promise<AdminServer> {
  const server = await startAdminServer({
    view,
    metrics: new MetricsRegistry(new Metrics()),
    clock,
    port: 0,
    onMutation: (request, status) => told.push(`${status} ${request}`),
  });
  t.teardown(() => server.close());
  return server;
}

t.test("what can be read", async (t) => {
  const view = new View();
  const server = await start(t, view);
  const get = (path: string): Promise<Answer> => ask(server, "GET", path);

  t.match(await get("/ready"), {
    status: 503,
    body: "INITIALIZING: waiting for certificate, configuration\n",
  });
  t.match(await get("/healthz/ready"), { status: 503 });
  t.match(await get("/live"), { status: 200, body: "LIVE\n" });
  view.ready = { isReady: true, state: "LIVE", missing: [] };
  t.match(await get("/ready"), { status: 200, body: "LIVE\n" });
  t.match(await get("/healthz/ready?x"), { status: 200 });

  for (const path of ["/stats/prometheus", "/metrics"]) {
    const { status, headers, body } = await get(path);
    t.equal(status, 200);
    t.equal(headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    t.ok(parsePrometheusText(body).has("istio_requests_total"), path);
  }

  t.equal(
    (await get("/clusters")).body,
    [
      "api.default::max_requests::1024",
      "api.default::10.0.0.2:20000::rq_total::5",
      "api.default::10.0.0.2:20000::cx_active::2",
      "api.default::10.0.0.2:20000::health_flags::healthy",
      "api.default::10.0.0.2:20000::weight::1",
      "api.default::10.0.0.2:20000::zone::a",
      "api.default::[fd00::1]:20001::health_flags::/failed_outlier_check",
      "api.default::[fd00::1]:20001::weight::1",
      "api.default::[fd00::1]:20001::zone::",
      "",
    ].join("\n"),
  );
  const clusters = await get("/clusters?format=json");
  t.equal(clusters.headers["content-type"], "application/json");
  t.match(JSON.parse(clusters.body), {
    cluster_statuses: [
      {
        name: "api.default",
        host_statuses: [
          {
            address: { socket_address: { address: "10.0.0.2", port_value: 20000 } },
            stats: [{ name: "rq_total", value: 5 }],
            health_status: { eds_health_status: "HEALTHY" },
          },
          { health_status: { eds_health_status: "UNHEALTHY" } },
        ],
      },
    ],
  });

  const dump = (await get("/config_dump")).body;
  t.notMatch(dump, /hunter2|MIGH/);
  t.match(JSON.parse(dump).configs, {
    bootstrap: { service: "web", tokenFile: "/run/token", token: "[redacted]" },
    endpoints: { "api.default": [{ address: "10.0.0.2" }] },
    identity: { keyPem: "[redacted]", chain: "[redacted]", certChainPem: "-----BEGIN CERTIFICATE-----" },
    headers: { set: [["Authorization", "[redacted]"]] },
  });

  t.match(JSON.parse((await get("/certs")).body), {
    certificates: [
      {
        cert_chain: [
          {
            serial_number: "0A",
            subject_alt_names: [{ uri: "spiffe://m/ns/default/svc/web" }],
            days_until_expiration: "1",
            expiration_time: new Date(clock.wallMs() + 1.5 * dayMs).toISOString(),
          },
        ],
        ca_cert: [{ serial_number: "01", days_until_expiration: "0", seconds_until_expiration: -1 }],
      },
    ],
  });
  t.match(JSON.parse((await get("/server_info")).body), {
    version: "1.2.3",
    state: "LIVE",
    uptime_current_epoch: "12s",
    node: { id: "web-1", cluster: "web" },
    config: { version: "abc", stale: true },
  });
  t.equal((await get("/listeners")).body, "inbound::0.0.0.0:20000\n");
  t.same(JSON.parse((await get("/listeners?format=json")).body), {
    listener_statuses: [{ name: "inbound", address: "0.0.0.0:20000" }],
  });
  t.equal((await get("/logging")).body, "level: info\n");

  const missing = await get("/nope");
  t.equal(missing.status, 404);
  for (const path of ["/ready", "/config_dump", "/metrics", "POST /quitquitquit"])
    t.match(missing.body, path);
  t.match(await get("/"), { status: 200, body: /GET {2}\/certs/ });
  t.match(await ask(server, "HEAD", "/ready"), { status: 200, body: "", headers: { "content-length": "5" } });
  t.match(missing.headers, { "x-content-type-options": "nosniff", "cache-control": "no-store" });
  t.same(view.calls, []);
});

t.test("changes are POST only, and each is told", async (t) => {
  const view = new View();
  const told: string[] = [];
  const server = await start(t, view, told);
  for (const path of [
    ...["/healthcheck/fail", "/healthcheck/ok", "/drain_listeners", "/quitquitquit", "/logging?level=debug"],
  ]) {
    const answer = await ask(server, "GET", path);
    t.equal(answer.status, 405, path);
    t.match(answer.headers["allow"], /POST/);
    t.match(answer.body, /send POST/);
    t.equal((await ask(server, "HEAD", path)).status, 405);
    t.equal((await ask(server, "DELETE", path)).status, 405);
  }
  t.match(await ask(server, "POST", "/ready"), { status: 405, headers: { allow: "GET, HEAD" } });
  t.match(await ask(server, "POST", "/metrics"), { status: 405 });
  t.same([view.calls, view.level, told], [[], "info", []], "nothing has happened");

  await ask(server, "POST", "/healthcheck/fail");
  await ask(server, "POST", "/healthcheck/ok");
  await ask(server, "POST", "/drain_listeners?graceful");
  t.match(await ask(server, "POST", "/quitquitquit"), { status: 200, body: "OK\n" });
  t.same(view.calls, ["failing true", "failing false", "drain", "quit"]);
  t.match(await ask(server, "POST", "/logging?level=debug"), { status: 200, body: "level: debug\n" });
  t.match(await ask(server, "POST", "/logging?level=loud"), { status: 400, body: /use debug, info/ });
  t.match(await ask(server, "POST", "/logging"), { status: 400 });
  await ask(server, "POST", "/breakers/open?service=api&for=1m");
  await ask(server, "POST", "/breakers/open?service=ghost");
  t.same(told, [
    "200 POST /healthcheck/fail",
    "200 POST /healthcheck/ok",
    "200 POST /drain_listeners?graceful",
    "200 POST /quitquitquit",
    "200 POST /logging?level=debug",
    "400 POST /logging?level=loud",
    "400 POST /logging",
    "200 POST /breakers/open?service=api&for=1m",
    "409 POST /breakers/open?service=ghost",
  ]);
});

t.test("only callers of this machine, under its own name", async (t) => {
  const view = new View();
  const server = await start(t, view);
  const { port } = server;
  const rows: readonly (readonly [headers: Record<string, string>, status: number])[] = [
    [{ host: `localhost:${port}` }, 200],
    [{ host: `LOCALHOST:${port}` }, 200],
    [{ host: `127.0.0.1:${port}` }, 200],
    [{ host: `[::1]:${port}` }, 200],
    [{ host: "localhost" }, 403],
    [{ host: `localhost:${port + 1}` }, 403],
    [{ host: `evil.example:${port}` }, 403],
    [{ host: `localhost.evil.example:${port}` }, 403],
    [{ host: `127.0.0.1:${port}@evil` }, 403],
    [{ host: `192.168.0.1:${port}` }, 403],
    [{ host: `localhost:${port}`, origin: `http://localhost:${port}` }, 200],
    [{ host: `localhost:${port}`, origin: "http://evil.example" }, 403],
    [{ host: `localhost:${port}`, origin: `https://localhost:${port}` }, 403],
    [{ host: `localhost:${port}`, origin: "null" }, 403],
    [{ host: `localhost:${port}`, origin: `http://localhost:${port + 1}` }, 403],
  ];
  for (const [headers, status] of rows)
    t.equal((await ask(server, "POST", "/healthcheck/ok", headers)).status, status, JSON.stringify(headers));
  t.equal(
    view.calls.length,
    rows.filter(([, status]) => status === 200).length,
    "the refused ones did nothing",
  );
  t.match(
    (await ask(server, "GET", "/config_dump", { host: "evil" })).body,
    /answers only to Host localhost/,
  );
});

t.test("bounds and failures", async (t) => {
  const view = new View();
  const server = await start(t, view);
  await t.rejects(
    startAdminServer({
      ...{ view, metrics: new MetricsRegistry(new Metrics()), clock },
      port: server.port,
      onMutation: () => undefined,
    }),
    {
      name: "ConfigError",
      place: "--admin",
      message: `--admin: port ${server.port} on 127.0.0.1 is already in use: choose another port, or 0 for any free one`,
    },
  );
  t.equal((await ask(server, "GET", "/ready", { "x-big": "x".repeat(20_000) })).status, 431);
  view.clusters = () => {
    throw new Error("secret detail");
  };
  t.match(await ask(server, "GET", "/clusters"), {
    status: 500,
    body: "internal error: this page cannot be shown\n",
  });
  t.equal((await ask(server, "GET", "/live")).status, 200, "the server lives on");

  // An endless body: the connection is cut, whatever was answered before.
  const socket = connect(server.port, "127.0.0.1");
  socket.on("error", () => undefined);
  socket.write(
    `POST /drain_listeners HTTP/1.1\r\nHost: 127.0.0.1:${server.port}\r\nContent-Length: 99999999\r\n\r\n`,
  );
  const chunk = Buffer.alloc(16 * 1024);
  const pump = (): void => {
    while (!socket.destroyed && socket.write(chunk));
  };
  socket.on("drain", pump);
  socket.resume();
  pump();
  await new Promise((resolve) => socket.once("close", resolve));
  t.ok(socket.bytesWritten < 20_000_000, "cut after 64 KiB and what the kernel buffered");

  // A silent connection does not keep the server from closing.
  const idle = connect(server.port, "127.0.0.1");
  idle.on("error", () => undefined);
  await new Promise((resolve) => idle.once("connect", resolve));
  const startMs = systemClock.monotonicMs();
  await server.close();
  t.ok(systemClock.monotonicMs() - startMs < 2000);
});

t.test("redaction finds secrets wherever they are", async (t) => {
  const cyclic: Record<string, unknown> = {};
  cyclic["self"] = cyclic;
  t.doesNotThrow(() => JSON.stringify(redact(cyclic)));
  t.same(
    redact({
      a: [{ PrivateKey: "x", private_key: "y", apiKey: "z", password: "", key: "not secret", tokens: 3 }],
      list: ["a", keyPem],
      urls: ["redis://u:p%40@h:1/2", "rediss://:p@h", "redis://h:6379/0", "http://h/a:b@c"],
      pair: ["cookie", "a=b"],
      authorization: { rules: ["kept"] },
      nothing: null,
    }),
    {
      a: [
        {
          PrivateKey: "[redacted]",
          private_key: "[redacted]",
          apiKey: "[redacted]",
          password: "",
          key: "not secret",
          tokens: 3,
        },
      ],
      list: ["a", "[redacted]"],
      urls: ["redis://u:[redacted]@h:1/2", "rediss://:[redacted]@h", "redis://h:6379/0", "http://h/a:b@c"],
      pair: ["cookie", "[redacted]"],
      authorization: { rules: ["kept"] },
      nothing: null,
    },
  );
});

t.test("breakers: seen, and driven by POST alone", async (t) => {
  const view = new View();
  const server = await start(t, view);
  const breaker: BreakerView = {
    ...{ state: "open", reason: "failure-ratio", sinceMs: 1234.5, remainingMs: 3765.5, openings: 1 },
    ...{ requests: 20, failures: 14, slow: 0, share: 0 },
  };
  const [first] = await view.clusters();
  view.clusters = async () => (first === undefined ? [] : [{ ...first, breaker }]);
  const { body } = await ask(server, "GET", "/breakers");
  t.match(JSON.parse(body), {
    services: [
      {
        service: "api.default",
        breaker: { state: "open", reason: "failure-ratio", failures: 14, remainingMs: 3766 },
        endpoints: [{ endpoint: "10.0.0.2:20000" }, { endpoint: "[fd00::1]:20001" }],
      },
    ],
  });
  t.match(await ask(server, "GET", "/breakers/open?service=api"), { status: 405 });
  t.same(view.calls, []);
  const post = (path: string) => ask(server, "POST", `/breakers/${path}`);
  t.match(await post("open?service=api"), { status: 200, body: "open api\n" });
  t.match(await post("isolate?service=api&endpoint=10.0.0.2:20000&for=1h30m&force=true"), { status: 200 });
  t.match(await post("reset"), { status: 200 });
  t.match(await post("close?service=ghost"), { status: 409, body: "close ghost\n" });
  t.match(await post("open"), { status: 400, body: /which service/ });
  t.match(await post("reset?endpoint=10.0.0.2:20000"), { status: 400 });
  for (const time of ["0s", "25h", "soon", "999ms"])
    t.match(await post(`open?service=api&for=${time}`), { status: 400, body: /give 1s to 24h/ });
  t.same(view.calls, [
    "open api all 300000 false",
    "isolate api 10.0.0.2:20000 5400000 true",
    "reset all all 300000 false",
    "close ghost all 300000 false",
  ]);
});
