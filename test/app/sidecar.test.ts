/** Whole sidecars on real sockets: what an application and its peers see from start to end. */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { connect as connectTls } from "node:tls";
import t, { type Test } from "tap";
import type { Snapshot } from "../../src/config/snapshot.js";
import { ConfigError } from "../../src/errors/config-error.js";
import { clientTlsOptions } from "../../src/identity/tls-options.js";
import { freePort } from "../support/free-port.js";
import { call, type Answer } from "../support/http-load.js";
import { parsePrometheusText } from "../support/prometheus-text.js";
import { connect, RawPeer } from "../support/raw-client.js";
import {
  identityOf,
  snapshotTo,
  startFromDisk,
  temporaryFolder,
  type KitOptions,
  type KitSidecar,
} from "../support/sidecar-kit.js";
import { until } from "../support/until.js";

type Handler = (request: IncomingMessage, response: ServerResponse) => void;

interface Application {
  readonly port: number;
  readonly requests: IncomingMessage[];
}

async function application(
  t: Test,
  handler: Handler = (_, response) => response.end("hello"),
): Promise<Application> {
  const requests: IncomingMessage[] = [];
  const server = createServer((request, response) => {
    requests.push(request);
    handler(request, response);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.teardown(() => {
    server.close();
    server.closeAllConnections();
  });
  return { port: (server.address() as AddressInfo).port, requests };
}

interface Mesh {
  readonly app: Application;
  readonly web: KitSidecar;
  readonly api: KitSidecar;
  /** Of web: its local port for api, and its host-routed one. */
  readonly upstream: number;
  readonly outbound: number;
}

interface MeshOptions {
  readonly handler?: Handler;
  readonly api?: KitOptions;
  readonly web?: KitOptions;
  readonly change?: (snapshot: Snapshot) => Snapshot;
}

/** web calls api over mTLS; no control plane anywhere. */
async function mesh(
  t: Test,
  { handler, api: apiOptions, web: webOptions, change }: MeshOptions = {},
): Promise<Mesh> {
  const app = await application(t, handler);
  const api = await startFromDisk(t, "api", {
    appPort: app.port,
    saved: snapshotTo([]),
    ...apiOptions,
  });
  const saved = snapshotTo([api.ports.inbound]);
  const web = await startFromDisk(t, "web", {
    upstreams: [{ service: "api", port: 0 }],
    outboundPort: 0,
    saved: change === undefined ? saved : change(saved),
    ...webOptions,
  });
  return { app, web, api, upstream: web.ports.upstreams.get("api") ?? 0, outbound: web.ports.outbound ?? 0 };
}

const scrape = async (sidecar: KitSidecar) =>
  parsePrometheusText((await call({ port: sidecar.ports.admin, path: "/stats/prometheus" })).body);

async function metric(sidecar: KitSidecar, name: string): Promise<number> {
  const family = (await scrape(sidecar)).get(name);
  return (family?.samples ?? []).reduce((sum, { value }) => sum + value, 0);
}

t.test(
  "without a control plane it serves what is on the disk, says that it is stale, and since when",
  async (t) => {
    const { app, web, upstream, outbound } = await mesh(t);
    t.same(web.missing.get(), []);
    t.match(await call({ port: upstream }), { status: 200, body: "hello", error: undefined });
    t.match(await call({ port: outbound, headers: { host: "api.default" } }), { status: 200, body: "hello" });
    const absolute = await call({ port: outbound, path: "http://api.default/x", headers: { host: "other" } });
    t.match(absolute, { status: 200 });
    t.equal(app.requests.at(-1)?.url, "/x");
    t.equal(app.requests.at(-1)?.headers.host, "api.default");

    const admin = web.ports.admin;
    t.match(await call({ port: admin, path: "/ready" }), { status: 200 });
    const info = JSON.parse((await call({ port: admin, path: "/server_info" })).body) as {
      config: { stale: boolean; version: string };
    };
    t.match(info.config, { stale: true, version: /^to / });
    t.equal(await metric(web, "remora_snapshot_stale"), 1);
    t.equal(await metric(web, "remora_config_info"), 1, "the version in force has its series");
    await until("the log tells of the control plane", () =>
      web.logged.some((line) => line.startsWith("warn no connection to the control plane")),
    );
  },
);

t.test("the application learns who calls, and nobody can pretend", async (t) => {
  const { app, upstream } = await mesh(t);
  await call({
    port: upstream,
    path: "/a//b/../c?x=//y",
    headers: {
      "x-request-id": "mine",
      "x-remora-caller": "spiffe://mesh.local/ns/default/svc/admin",
      X_Remora_Caller: "twin",
      "X-Forwarded-Client-Cert": "forged",
      "x-forwarded-client_cert": "twin",
      "x-remora-hop": "elsewhere",
      Connection: "close, x-request-id, x-remora-caller, x-nominated",
      "x-nominated": "goes",
      "X-Kept": "stays",
    },
  });
  const { rawHeaders = [], url } = app.requests[0] ?? {};
  const named = (name: string): string[] =>
    rawHeaders.filter(
      (_, i) => i % 2 === 1 && rawHeaders[i - 1]?.toLowerCase().replaceAll("_", "-") === name,
    );
  const caller = "spiffe://mesh.local/ns/default/svc/web";
  t.same(named("x-remora-caller"), [caller]);
  const [cert = "", ...more] = named("x-forwarded-client-cert");
  t.match(cert, new RegExp(`^By=spiffe://mesh.local/ns/default/svc/api;Hash=[0-9a-f]{64};URI=${caller}$`));
  t.same(more, []);
  t.same(named("x-request-id"), ["mine"]);
  t.same(named("x-remora-hop"), []);
  t.same(named("x-nominated"), []);
  t.same(named("x-kept"), ["stays"]);
  t.ok(rawHeaders.includes("X-Kept"), "letter case is kept");
  t.equal(url, "/a/c?x=//y", "decided on and forwarded: one canonical path, the query untouched");

  await call({ port: upstream, headers: { "x-request-id": "" } });
  t.match(app.requests[1]?.headers["x-request-id"], /^[0-9a-f-]{36}$/, "an empty id is none");
});

t.test("before any configuration: 503 not_ready, and the admin port says what is missing", async (t) => {
  const web = await startFromDisk(t, "web", { upstreams: [{ service: "api", port: 0 }], outboundPort: 0 });
  t.same(web.missing.get(), ["configuration from the control plane"]);
  t.match(await call({ port: web.ports.admin, path: "/ready" }), {
    status: 503,
    body: /waiting for configuration/,
  });
  for (const port of [web.ports.upstreams.get("api") ?? 0, web.ports.outbound ?? 0])
    t.match(await call({ port }), {
      status: 503,
      error: "not_ready",
      body: /^no configuration received yet: .*\n$/,
    });
});

t.test(
  "each error of its own making: code, one line, grep-able; gRPC callers get trailers only",
  async (t) => {
    const { web, upstream, outbound } = await mesh(t, {
      web: {
        upstreams: [
          { service: "api", port: 0 },
          { service: "gone", port: 0 },
        ],
      },
      change: (snapshot) => ({
        ...snapshot,
        virtualHosts: snapshot.virtualHosts.map((host) => ({
          ...host,
          routes: host.routes.map((route) => ({
            ...route,
            match: { ...route.match, path: { type: "prefix", value: "/here" } },
          })),
        })),
      }),
    });
    const expectError = (answer: Answer, status: number, error: string, body: RegExp): void => {
      t.match(answer, { status, error });
      t.match(answer.body, body);
      t.equal(answer.body.indexOf("\n"), answer.body.length - 1, "one line");
    };
    const unknown = await call({
      port: outbound,
      path: "/secret?token=1",
      headers: { host: "nowhere.test" },
    });
    expectError(unknown, 404, "no_route", /^no route: no service answers to host nowhere\.test\n$/);
    const unmatched = await call({ port: upstream, path: "/there?token=1" });
    expectError(unmatched, 404, "no_route", /no rule matches GET \/there for host/);
    t.notMatch(unmatched.body, "token");
    const gone = await call({ port: web.ports.upstreams.get("gone") ?? 0 });
    expectError(gone, 404, "no_route", /service gone\.default is not known/);
    const node = `web.default-127.0.0.1-1`;
    const loop = await call({ port: upstream, path: "/here", headers: { "x-remora-hop": node } });
    expectError(loop, 508, "loop", /^request loop: /);
    const ambiguous = await call({ port: upstream, path: "/here/..;x/admin" });
    expectError(ambiguous, 400, "malformed_request", /ambiguous path/);

    const client = connect(t, upstream);
    const grpc = (type: string): string =>
      `POST /there HTTP/1.1\r\nHost: 100%.\u00e9\r\nContent-Type: ${type}\r\nContent-Length: 0\r\n\r\n`;
    client.write(grpc("application/grpc+proto").replace("100%.\u00e9", "a"));
    const reply = await client.gets("\r\n\r\n");
    t.match(reply, /^HTTP\/1\.1 200 OK\r\n/);
    t.match(reply, /\r\ngrpc-status: 12\r\n/);
    t.match(reply, /\r\ngrpc-message: no route: no rule matches POST \/there for host a\r\n/);
    t.match(reply, /\r\nx-remora-error: no_route\r\n/);
    client.write(grpc("application/grpc-web").replace("100%.\u00e9", "a"));
    t.match(await client.gets("404 Not Found"), "no rule matches");

    const head = connect(t, upstream);
    head.write("HEAD /there HTTP/1.1\r\nHost: a\r\n\r\nHEAD /there HTTP/1.0\r\nHost: a\r\n\r\n");
    const heads = await head.over();
    t.equal(heads.match(/HTTP\/1\.1 404/g)?.length, 2);
    t.notMatch(heads, "no rule matches", "no body for HEAD");
  },
);

t.test("series do not depend on what clients send", async (t) => {
  const { web, outbound, upstream } = await mesh(t);
  const series = async (): Promise<number> => {
    let count = 0;
    for (const [name, family] of await scrape(web))
      if (/^(istio|envoy|remora)_/.test(name)) count += family.samples.length;
    return count;
  };
  const provoke = async (n: number): Promise<void> => {
    await call({ port: outbound, headers: { host: `h${n}.test` } });
    await call({ port: upstream, path: `/p${n}`, method: n % 2 === 0 ? "GET" : "PURGE" });
  };
  await provoke(0);
  await provoke(1);
  const before = await series();
  for (let n = 2; n < 60; n++) await provoke(n);
  t.equal(await series(), before);
});

t.test("the access log has the path as received, the route, the endpoint and the reason", async (t) => {
  const { web, upstream, outbound } = await mesh(t, {
    change: (snapshot) => ({
      ...snapshot,
      virtualHosts: snapshot.virtualHosts.map((host) => ({
        ...host,
        routes: host.routes.map((route) => ({
          ...route,
          action: {
            type: "forward",
            backends: [{ cluster: "api.default", weight: 1 }],
            rewrite: { hostname: "rewritten", path: { type: "full", value: "/rewritten" } },
          },
        })),
      })),
    }),
  });
  await call({ port: upstream, path: "/asked?for=1", headers: { host: "asked.test", "x-request-id": "7" } });
  await call({ port: outbound, headers: { host: "nowhere" } });
  await web.close();
  const [first, second] = await web.accessLog();
  t.match(first, {
    path: "/asked?for=1",
    authority: "asked.test",
    request_id: "7",
    response_code: 200,
    response_flags: "-",
    response_code_details: "via_upstream",
    upstream_cluster: "api.default",
    upstream_host: /^127\.0\.0\.1:\d+$/,
    route_name: "default",
    bytes_sent: 5,
  });
  t.match(second, { response_code: 404, response_flags: "NR", response_code_details: "no_route" });
  t.equal(second?.["upstream_host"], null);
});

t.test("the limit of the inbound side is kept, with Retry-After, and nothing is lost below it", async (t) => {
  const waiting: ServerResponse[] = [];
  const { app, upstream } = await mesh(t, {
    handler: (_, response) => void waiting.push(response),
    api: { saved: { ...snapshotTo([]), inbound: { mtlsMode: "STRICT", maxRequests: 2 } } },
  });
  const first = [call({ port: upstream }), call({ port: upstream })];
  await until("both are at the application", () => app.requests.length === 2);
  const client = connect(t, upstream);
  client.write("GET / HTTP/1.1\r\nHost: api\r\n\r\n");
  const refused = await client.gets("\n\r\n");
  t.match(refused, /^HTTP\/1\.1 503 /);
  t.match(refused, /x-remora-error: concurrency_limit\r\n/);
  for (const response of waiting) response.end("done");
  for (const answer of await Promise.all(first)) t.match(answer, { status: 200, body: "done" });
  const next = call({ port: upstream });
  await until("it is free again", () => waiting.length === 3);
  waiting[2]?.end("done");
  t.match(await next, { status: 200 });
});

t.test("a port in use is named with its flag, and nothing stays open", async (t) => {
  const taken = (await application(t)).port;
  const free = await freePort();
  const cases: [KitOptions, string][] = [
    [{ inboundPort: taken }, "--inbound"],
    [{ inboundPort: free, outboundPort: taken }, "--outbound"],
    [{ inboundPort: free, upstreams: [{ service: "api", port: taken }] }, "--upstream"],
    [{ inboundPort: free, adminPort: taken }, "--admin"],
  ];
  for (const [options, flag] of cases) {
    const error = await startFromDisk(t, "web", options).then(
      () => undefined,
      (cause: unknown) => cause,
    );
    t.ok(error instanceof ConfigError, flag);
    if (!(error instanceof ConfigError)) continue;
    t.equal(error.place, flag);
    t.match(error.message, /in use/);
    t.notMatch(error.message, "\n");
  }
  const web = await startFromDisk(t, "web", { inboundPort: free });
  t.equal(web.ports.inbound, free, "the attempts before have let it go");
});

t.test("an unusable state directory is told from a missing one", async (t) => {
  const refusal = (options: KitOptions): Promise<string> =>
    startFromDisk(t, "web", options).then(
      () => "started",
      (error: unknown) =>
        error instanceof ConfigError ? error.message : `not a ConfigError: ${String(error)}`,
    );
  t.match(await refusal({ svid: null }), /no certificate in .*, and there is no join token: .*--token-file/);
  const expired = await identityOf("web", { issuedAtMs: Date.now() - 7_200_000 });
  t.match(await refusal({ svid: expired }), /expired at .*, and there is no join token/);
  t.match(await refusal({ svid: await identityOf("api") }), /holds the identity .*svc\/api, not .*svc\/web/);
  const folder = await temporaryFolder(t);
  const log = { format: "json" as const, path: `${folder}/none/access.log` };
  t.match(await refusal({ accessLog: log }), /access log .* cannot be opened/);
});

t.test(
  "drain: requests and handshakes under way finish, new peers are refused, outbound works",
  async (t) => {
    const waiting: ServerResponse[] = [];
    const { app, web, api, upstream } = await mesh(t, {
      handler: (request, response) => {
        if (request.url === "/wait") waiting.push(response);
        else response.end("quick");
      },
      api: { upstreams: [{ service: "self", port: 0 }], drainTimeoutMs: 5000 },
    });
    const running = call({ port: upstream, path: "/wait" });
    await until("it is at the application", () => waiting.length === 1);
    // Accepted before the drain, still without its ClientHello.
    const late = connect(t, api.ports.inbound);
    await late.wait("connected", () => !late.socket.connecting);
    // A round trip through the event loop of the sidecar, which accepts before it answers.
    await metric(api, "remora_draining");

    let isDrained = false;
    const drained = api.drainInbound().then(() => (isDrained = true));
    t.match(await call({ port: api.ports.admin, path: "/ready" }), { status: 503, body: /DRAINING/ });
    t.equal(await metric(api, "remora_draining"), 1);
    await until("new connections are refused", () => refuses(t, api.ports.inbound));

    t.equal(isDrained, false, "it waits for the request under way");
    waiting[0]?.end("slow");
    t.match(await running, { status: 200, body: "slow" });
    await metric(api, "remora_draining");
    t.equal(isDrained, false, "it waits for the handshake under way");

    const tls = connectTls({
      socket: late.socket,
      ...clientTlsOptions(await identityOf("web")),
      ALPNProtocols: ["http/1.1"],
    });
    const peer = new RawPeer(tls);
    peer.write("GET /late HTTP/1.1\r\nHost: api\r\n\r\n");
    const answer = await peer.over();
    t.match(answer, /^HTTP\/1\.1 200 [^]*quick$/);
    t.match(answer, /\r\nConnection: close\r\n/i);
    tls.destroy();
    await drained;
    t.equal(app.requests.length, 2);

    // Its application may still make its last calls.
    t.match(await call({ port: api.ports.upstreams.get("self") ?? 0 }), { status: 404, error: "no_route" });
    await api.close();
    t.match(await call({ port: upstream }), { status: 502, error: "connect_failed" });
    t.equal(await refuses(t, api.ports.admin), true);
    await web.close();
    t.equal(await refuses(t, upstream), true);
  },
);

t.test("drain cuts off what its timeout leaves, and says so", async (t) => {
  const { app, api, upstream } = await mesh(t, { handler: () => undefined, api: { drainTimeoutMs: 100 } });
  const running = call({ port: upstream });
  await until("it is at the application", () => app.requests.length === 1);
  // Once by the admin API, once by the supervisor.
  await Promise.all([api.drainInbound(), api.drainInbound()]);
  t.match(await running, { status: 502, error: "upstream_closed" });
  t.match(api.logged.at(-1), /inbound connections cut off by the drain timeout \{"count":1\}/);
});

t.test("a registration under way is taken back by the end, and none begins after it", async (t) => {
  const calls: string[] = [];
  const held: ServerResponse[] = [];
  const agent = await application(t, (request, response) => {
    request.resume();
    calls.push(`${request.method} ${request.url?.split("?", 1)[0]}`);
    if (request.url?.startsWith("/v1/agent/service/register") === true) held.push(response);
    else response.setHeader("content-type", "application/json").end("{}");
  });
  const web = await startFromDisk(t, "web", {
    registration: {
      kind: "consul",
      url: `http://127.0.0.1:${agent.port}`,
      token: undefined,
      caFile: undefined,
      tags: [],
      checks: [],
    },
  });
  const announced = Promise.all([web.announce(), web.announce()]);
  await until("the agent is asked", () => held.length > 0);
  t.equal(held.length, 1, "registered once");
  const withdrawn = web.withdraw();
  await web.announce();
  const isRegistered = (): boolean => calls.some((line) => line.includes("/service/deregister"));
  t.equal(isRegistered(), false);
  held[0]?.end();
  await until("further calls of the registration", () => {
    for (const response of held) if (!response.writableEnded) response.end();
    return isRegistered();
  });
  await Promise.all([announced, withdrawn]);
  const last = calls.filter((line) => /service\/(de)?register/.test(line)).at(-1);
  t.match(last, "/v1/agent/service/deregister/");
});

function refuses(t: Test, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const { socket } = connect(t, port);
    socket.once("connect", () => {
      socket.destroy();
      resolve(false);
    });
    socket.once("error", () => resolve(true));
  });
}

t.test("an endpoint that is our own outbound port is a loop, told once and not for ever", async (t) => {
  const port = await freePort();
  const snapshot = snapshotTo([port], {}, { meshed: false });
  const clusters = snapshot.clusters.map((cluster) => ({ ...cluster, mtlsMode: "PERMISSIVE" as const }));
  const web = await startFromDisk(t, "web", { outboundPort: port, saved: { ...snapshot, clusters } });
  t.match(await call({ port, headers: { host: "api.default" } }), { status: 508, error: "loop" });
  t.equal(await metric(web, "envoy_http_downstream_rq_total"), 2);
});

t.test("plaintext endpoints: used where a policy permits it, else named as the reason", async (t) => {
  const app = await application(t);
  for (const [mtlsMode, expected] of [
    [
      "STRICT",
      { status: 503, error: "plaintext_refused", body: /no sidecar, mtls mode=STRICT, source=default/ },
    ],
    ["PERMISSIVE", { status: 200, body: "hello" }],
  ] as const) {
    const snapshot = snapshotTo([app.port], {}, { meshed: false });
    const clusters = snapshot.clusters.map((cluster) => ({ ...cluster, mtlsMode }));
    const web = await startFromDisk(t, "web", {
      upstreams: [{ service: "api", port: 0 }],
      saved: { ...snapshot, clusters },
    });
    t.match(await call({ port: web.ports.upstreams.get("api") ?? 0 }), expected);
  }
});

t.test("an endpoint that proves another identity gets no byte of the request", async (t) => {
  const { app, upstream } = await mesh(t, {
    change: (snapshot) => ({
      ...snapshot,
      clusters: snapshot.clusters.map((cluster) => ({
        ...cluster,
        identities: ["spiffe://mesh.local/ns/default/svc/ap", "spiffe://mesh.local/ns/default/svc/api2"],
      })),
    }),
  });
  const answer = await call({ port: upstream, method: "POST", body: "secret" });
  t.match(answer, { status: 502, error: "upstream_identity_mismatch" });
  t.equal(app.requests.length, 0);
});
