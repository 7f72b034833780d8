// # runs beside others
/** Remora as a part of Consul's service mesh: Consul's CA, its registrations and its built-in proxy, all real. */
import tls from "node:tls";
import t, { type Test } from "tap";
import { metric, startMesh, type CliMesh } from "../support/cli-mesh.js";
import { skipWithoutConsul, startConsulAgent, type ConsulAgent } from "../support/consul-agent.js";
import {
  consulCall,
  registerService,
  rotateConsulCa,
  startApp,
  startBuiltInProxy,
} from "../support/consul-connect.js";
import { call, startLoad } from "../support/http-load.js";
import { until } from "../support/until.js";

const skip = skipWithoutConsul();

interface Meshed {
  readonly agent: ConsulAgent;
  readonly mesh: CliMesh;
  /** Local ports: the remora of `web` to `db`, the built-in proxy of `db` to `web`. */
  readonly webToDb: number;
  readonly dbToWeb: number;
  readonly webAdmin: number;
  readonly webApp: number;
  readonly webSidecar: number;
  readonly dbApp: number;
}

/** `web` beside Remora and `db` beside Consul's built-in proxy, each with the other as upstream. */
async function startBoth(t: Test, protocol: string | undefined): Promise<Meshed> {
  const agent = await startConsulAgent();
  t.teardown(() => agent.stop());
  const mesh = await startMesh(t, { controlPlane: ["--consul", agent.url, "--ca", "consul"] });
  const ports: number[] = [];
  for (let i = 0; i < 7; i++) ports.push(await mesh.freePort());
  const [webApp = 0, webSidecar = 0, webToDb = 0, webAdmin = 0, dbApp = 0, dbSidecar = 0, dbToWeb = 0] =
    ports;
  const web = { name: "web", app: webApp, sidecar: webSidecar, upstreams: { db: webToDb }, protocol };
  await registerService(agent, web);
  await registerService(agent, {
    name: "db",
    app: dbApp,
    sidecar: dbSidecar,
    upstreams: { web: dbToWeb },
    protocol,
  });
  await startApp(t, mesh, "web", webApp);
  await startApp(t, mesh, "db", dbApp);
  startBuiltInProxy(t, agent, "db");
  mesh.start("web", [
    ...["sidecar", "--for", "web", "--consul", agent.url, "--control-plane", mesh.controlPlane],
    ...["--admin", `${webAdmin}`, "--state-dir", `${mesh.dir}/web`, "--drain-delay", "0s"],
  ]);
  return { agent, mesh, webToDb, dbToWeb, webAdmin, webApp, webSidecar, dbApp };
}

for (const protocol of ["http", "tcp"])
  t.test(`Remora and Consul's built-in proxy call each other, ${protocol}`, { skip }, async (t) => {
    const { webToDb, dbToWeb } = await startBoth(t, protocol);
    const fromDb = await until("Remora answers the built-in proxy", async () => {
      const { status, body } = await call({ port: dbToWeb }).catch(() => ({ status: 0, body: "" }));
      return status === 200 ? body : undefined;
    });
    t.match(JSON.parse(fromDb), { instance: "web" });
    const fromWeb = await until("the built-in proxy answers Remora", async () => {
      const { status, body } = await call({ port: webToDb }).catch(() => ({ status: 0, body: "" }));
      return status === 200 ? body : undefined;
    });
    t.match(JSON.parse(fromWeb), { instance: "db" });
  });

/** Local ports that both answer by now. */
async function untilBothAnswer({ webToDb, dbToWeb }: Meshed): Promise<void> {
  for (const port of [webToDb, dbToWeb])
    await until(`an answer at ${port}`, async () => (await call({ port })).status === 200);
}

t.test("what a service speaks is what Consul's configuration entries say", { skip }, async (t) => {
  // Nobody says: bytes.
  const both = await startBoth(t, undefined);
  const { agent, webToDb } = both;
  await untilBothAnswer(both);
  const isOfHttp = async (): Promise<boolean> => {
    t.equal((await call({ port: webToDb })).status, 200);
    return (await metric(both.webAdmin, "envoy_cluster_upstream_cx_http1_total")) > 0;
  };
  t.notOk(await isOfHttp(), "tcp");
  const entry = { Kind: "service-defaults", Name: "db", Protocol: "http" };
  await consulCall(agent, "PUT", "/v1/config", entry);
  await until("requests of HTTP", isOfHttp);
});

t.test("a rotation of Consul's CA costs no connection in either direction", { skip }, async (t) => {
  const both = await startBoth(t, "tcp");
  const { agent, webToDb, dbToWeb } = both;
  await untilBothAnswer(both);
  const serials = (): Promise<readonly unknown[]> =>
    Promise.all(
      ["web", "db"].map(async (name) => {
        const leaf = await consulCall(agent, "GET", `/v1/agent/connect/ca/leaf/${name}`);
        return (leaf as { readonly SerialNumber: string }).SerialNumber;
      }),
    );
  const before = await serials();
  // Each request on a connection of its own, and so with a handshake of its own between the proxies.
  const load = startLoad(t, 40, (n) => ({
    port: n % 2 === 0 ? webToDb : dbToWeb,
    headers: { connection: "close" },
  }));
  await rotateConsulCa(agent);
  // Agents spread it over some seconds.
  await until(
    "new leaves for both",
    async () => (await serials()).every((serial, at) => serial !== before[at]),
    60_000,
  );
  const seen = load.sent;
  await until("some more requests", () => load.sent > seen + 80);
  const { sent, succeeded, failures } = await load.stop();
  t.same(failures, [], `${succeeded} of ${sent}`);
  t.comment(`${sent} connections over a rotation, ${failures.length} failed`);
});

/** What a request ends with: a status, or how the connection broke. */
async function outcome(port: number, path = "/"): Promise<string> {
  return call({ port, path }).then(
    ({ status }) => String(status),
    (error: NodeJS.ErrnoException) => error.code ?? error.message,
  );
}

for (const protocol of ["http", "tcp"])
  t.test(`an intention that changes is obeyed in both directions, ${protocol}`, { skip }, async (t) => {
    const both = await startBoth(t, protocol);
    const { agent, mesh, webToDb, dbToWeb } = both;
    await untilBothAnswer(both);
    const served = async (app: number): Promise<unknown> =>
      JSON.parse((await call({ port: app, path: "/count" })).body);
    const pairs = [
      { source: "db", destination: "web", port: dbToWeb, app: both.webApp },
      // Consul's proxy asks when a connection comes, and Remora keeps those for HTTP open.
      ...(protocol === "tcp" ? [{ source: "web", destination: "db", port: webToDb, app: both.dbApp }] : []),
    ];
    for (const { source, destination, port, app } of pairs) {
      const intention = { SourceName: source, DestinationName: destination };
      const made = await consulCall(agent, "POST", "/v1/connect/intentions", {
        ...intention,
        Action: "deny",
      });
      const denied = await until("the denial", async () => {
        const said = await outcome(port);
        return said !== "200" && said;
      });
      t.comment(`${source} to ${destination}: ${denied}`);
      const before = await served(app);
      for (let i = 0; i < 5; i++) t.not(await outcome(port), "200");
      t.same(await served(app), before, "not one request reached the application");
      if (destination === "web" && protocol === "http") t.equal(denied, "403");
      const { ID } = made as { readonly ID: string };
      await consulCall(agent, "PUT", `/v1/connect/intentions/${ID}`, { ...intention, Action: "allow" });
      await until("allowed again", async () => (await outcome(port)) === "200");
      await consulCall(agent, "DELETE", `/v1/connect/intentions/${ID}`);
      t.equal(await outcome(port), "200", "the default of a Consul without ACLs");
    }
    t.ok(mesh.controlPlaneProcess?.isRunning);
  });

t.test("whoever is not of this Consul's mesh gets not one byte to the application", { skip }, async (t) => {
  const both = await startBoth(t, "http");
  const { agent, mesh, webApp, webSidecar } = both;
  await untilBothAnswer(both);
  const other = await startConsulAgent();
  t.teardown(() => other.stop());
  const leafOf = async (from: ConsulAgent, name: string): Promise<tls.ConnectionOptions> => {
    const leaf = await consulCall(from, "GET", `/v1/agent/connect/ca/leaf/${name}`);
    const { CertPEM: cert, PrivateKeyPEM: key } = leaf as {
      readonly CertPEM: string;
      readonly PrivateKeyPEM: string;
    };
    return { cert, key };
  };
  const count = async (): Promise<string> => (await call({ port: webApp, path: "/count" })).body;
  const before = await count();
  const own = await leafOf(agent, "db");
  const callers: readonly (readonly [string, tls.ConnectionOptions])[] = [
    ["a leaf of another Consul", await leafOf(other, "db")],
    ["no certificate", {}],
    ["this Consul's leaf over TLS 1.2", { ...own, maxVersion: "TLSv1.2" }],
  ];
  for (const [who, options] of callers)
    for (const ALPNProtocols of [["h2"], ["remora-h2"], ["remora-tcp"], []])
      t.equal(
        await answerTo(webSidecar, { ...options, ALPNProtocols }),
        "",
        `${who}, ${ALPNProtocols.join()}`,
      );
  t.equal(await count(), before, "nothing reached the application");
  t.match(
    await answerTo(webSidecar, { ...own, ALPNProtocols: ["h2"] }),
    /^HTTP\/1\.1 200/,
    "its own is let in",
  );
  const refused = await mesh.remora(["token", "create", "--service", "web"]);
  t.equal(refused.code, 1);
  t.match(refused.err, "this mesh's CA is Consul's, which knows no join tokens");
});

/** What a peer gets for a request over HTTP/1.1; "" when its connection is ended without a word. */
function answerTo(port: number, options: tls.ConnectionOptions): Promise<string> {
  return new Promise((resolve) => {
    let text = "";
    const socket = tls.connect({ host: "127.0.0.1", port, rejectUnauthorized: false, ...options });
    socket.on("secureConnect", () =>
      socket.write("GET / HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n"),
    );
    socket.on("data", (chunk: Buffer) => (text += chunk.toString("latin1")));
    socket.on("error", () => socket.destroy()).on("close", () => resolve(text));
  });
}
