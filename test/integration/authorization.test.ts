// # runs beside others
/** Real processes: what AuthorizationPolicy refuses does not reach the application with one byte, however it is asked. */
import { createHash, X509Certificate } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import http2 from "node:http2";
import net from "node:net";
import path from "node:path";
import tls from "node:tls";
import t, { type Test } from "tap";
import { metric, startMesh, type CliMesh, type Place } from "../support/cli-mesh.js";
import { call } from "../support/http-load.js";
import { until } from "../support/until.js";

interface Identity {
  readonly key: string;
  readonly cert: string;
}

/** Answers every head with "fine", and keeps every byte that it gets; after an upgrade, and with `isTcp`, it echoes. */
class ByteApp {
  received = "";
  readonly #server: net.Server;
  readonly #sockets = new Set<net.Socket>();

  constructor(isTcp = false) {
    this.#server = net.createServer((socket) => {
      this.#sockets.add(socket);
      let isTunnel = isTcp;
      socket.on("error", () => undefined).on("close", () => this.#sockets.delete(socket));
      socket.on("data", (chunk) => {
        const text = chunk.toString("latin1");
        this.received += text;
        if (isTunnel) return void socket.write(chunk);
        if (!text.includes("\r\n\r\n")) return;
        isTunnel = /^upgrade: websocket/im.test(text);
        socket.write(
          isTunnel
            ? `HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: ${acceptOf(text)}\r\n\r\n`
            : "HTTP/1.1 200 OK\r\nx-remora-denied-by: forged\r\ncontent-length: 4\r\n\r\nfine",
        );
      });
    });
  }

  listen(t: Test, port: number): Promise<void> {
    t.teardown(() => {
      for (const socket of this.#sockets) socket.destroy();
      this.#server.close();
    });
    return new Promise((resolve) => this.#server.listen(port, "127.0.0.1", resolve));
  }
}

function acceptOf(head: string): string {
  const key = /^sec-websocket-key: *(\S+)/im.exec(head)?.[1] ?? "";
  return createHash("sha1").update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
}

async function identityIn(mesh: CliMesh, service: string): Promise<Identity> {
  const { keyFile, certFile } = await mesh.issue(service, path.join(mesh.dir, `id-${service}`));
  return { key: await readFile(keyFile, "utf8"), cert: await readFile(certFile, "utf8") };
}

const connectTo = (port: number, identity: Identity, alpn = "http/1.1"): tls.TLSSocket =>
  tls.connect({ host: "127.0.0.1", port, ...identity, rejectUnauthorized: false, ALPNProtocols: [alpn] });

/** All that comes back until the connection ends. Past every sidecar of the caller's own: nothing makes the path canonical before. */
function converse(socket: net.Socket, bytes: string): Promise<string> {
  return new Promise((resolve) => {
    let text = "";
    socket.setEncoding("latin1").on("data", (chunk: string) => (text += chunk));
    socket.on("error", () => undefined).once("close", () => resolve(text));
    socket.setTimeout(10_000, () => socket.destroy());
    socket.write(bytes, "latin1");
  });
}

/** Is the text in a file of the folder? */
async function isSaved(folder: string, text: string): Promise<boolean> {
  const files = await readdir(folder);
  const bytes = await Promise.all(files.map((file) => readFile(path.join(folder, file)).catch(() => null)));
  return bytes.some((each) => each?.includes(text) === true);
}

interface Asked {
  readonly status: number;
  readonly text: string;
}

async function ask(
  port: number,
  identity: Identity,
  target: string,
  more = "",
  host = "api",
): Promise<Asked> {
  const head = `GET ${target} HTTP/1.1\r\nhost: ${host}\r\nconnection: close\r\n${more}\r\n`;
  const text = await converse(connectTo(port, identity), head);
  return { status: Number(text.slice(9, 12)), text };
}

const policy = (spec: string, name = "test"): string =>
  `apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: ${name}}\nspec: ${spec}\n`;

/** Puts a policy in force, and waits until `isInForce`. */
async function enforce(mesh: CliMesh, spec: string, isInForce: () => Promise<boolean>): Promise<void> {
  await mesh.apply(policy(spec));
  await until("the policy in force", isInForce);
}

// The comment tells the runner, which would end the file sooner.
const longestMs = 180_000;
t.setTimeout(longestMs);
t.comment(`timeout=${longestMs}`);

const mesh = await startMesh(t);
const app = new ByteApp();
const place: Place = await mesh.place({ name: "api", service: "api", command: [] });
await app.listen(t, place.app);
mesh.run(place);
const [web, evil] = await Promise.all([identityIn(mesh, "web"), identityIn(mesh, "evil")]);
const at = place.inbound;
const status = async (target: string, identity = web): Promise<number> =>
  (await ask(at, identity, target)).status;
await until("the sidecar serves", async () => (await status("/")) === 200);

/** Asks with each target, and compares status and what the application got: the line with `forwarded`, or nothing. */
async function walk(t: Test, table: readonly (readonly [string, number | string])[]): Promise<void> {
  for (const [target, expected] of table) {
    app.received = "";
    const { status, text } = await ask(at, web, target);
    const forwarded = typeof expected === "string" ? expected : undefined;
    t.equal(status, forwarded === undefined ? expected : 200, `${target}: ${text.split("\r\n")[0]}`);
    if (forwarded === undefined) t.equal(app.received, "", `${target}: not one byte`);
    else t.equal(app.received.split("\r\n")[0], `GET ${forwarded} HTTP/1.1`, target);
  }
}

t.test("row 17: no spelling of a path slips past a rule that refuses", async (t) => {
  await enforce(
    mesh,
    '{action: DENY, rules: [{to: [{operation: {paths: ["/admin", "/admin/*"]}}]}]}',
    async () => (await status("/admin")) === 403,
  );
  await walk(t, [
    ["/admin", 403],
    ["/admin/", 403],
    ["/admin/x", 403],
    ["//admin", 403],
    ["/./admin", 403],
    ["/x/../admin", 403],
    ["/%2e%2e/admin", 403],
    ["/x/%2E%2e/admin", 403],
    ["/%2Fadmin", 403],
    ["/x%2f..%2fadmin", 403],
    ["/admin%2F", 403],
    ["/%5cadmin", 403],
    ["/admin%5C", 403],
    ["\\admin", 400],
    ["/\\admin", 400],
    ["/admin;x=1", 403],
    ["/;x/admin", 403],
    ["/admin;x=1/y", 403],
    ["/admin%3Bx", 403],
    ["/..;/admin", 400],
    ["/x/..%3b/admin", 400],
    ["/admin#f", 400],
    ["/adm%69n", 403],
    ["/%61%64%6D%69%6E", 403],
    ["/admin%00", 400],
    ["/admin%c0%af", 400],
    ["/%c1%a1dmin", 400],
    ["/%e0%80%af/admin", 400],
    ["/admin?", 403],
    ["/admin?x=/public", 403],
    ["http://api/admin", 403],
    ["http://api//x/../admin", 403],
    ["admin", 400],
    ["/admin%", 400],
    ["/admin%zz", 400],
    // Other places than /admin, and the application is told so byte for byte.
    ["/ADMIN", "/ADMIN"],
    ["//host/admin", "/host/admin"],
    ["/admins", "/admins"],
    ["/%61dministrator?q=%2F", "/administrator?q=%2F"],
    ["/x?/admin", "/x?/admin"],
    ["/admin%20", "/admin%20"],
    ["/admin/../x", "/x"],
  ]);
});

t.test("row 17: no spelling of a path gets more than a rule grants", async (t) => {
  await enforce(
    mesh,
    '{rules: [{to: [{operation: {paths: ["/public", "/public/*", "*.html"]}}]}]}',
    async () => (await status("/x")) === 403,
  );
  await walk(t, [
    ["/public", "/public"],
    ["//public", "/public"],
    ["/public/a?b=../admin", "/public/a?b=../admin"],
    ["/public/a;v=1", "/public/a;v=1"],
    ["/public;v=1", 403],
    ["/a.html", "/a.html"],
    ["/admin", 403],
    ["/public/../admin", 403],
    ["/public/%2e%2e/admin", 403],
    ["/public/%2e%2e%2fadmin", 403],
    ["/public/..%5cadmin", 403],
    ["/public\\..\\admin", 400],
    ["/public/..;/admin", 400],
    ["/public/..%3Badmin/x", 400],
    ["/public;/../admin", 403],
    ["/admin;/public", 403],
    ["/admin;x.html", 403],
    ["/admin%3Bx.html", 403],
    ["/admin%3F.html", "/admin%3F.html"],
    ["/admin%23.html", "/admin%23.html"],
    ["/admin?.html", 403],
    ["/admin#/public", 400],
    ["/admin%00.html", 400],
    ["/publicx", 403],
    ["/PUBLIC", 403],
    ["//public/../../admin", 403],
    ["http://api/admin#/public", 400],
  ]);
});

t.test("row 16 and 18: hosts in every spelling, headers with every value", async (t) => {
  const spec = `{action: DENY, rules: [{to: [{operation: {hosts: [admin.local]}}]}, {when: [{key: "request.headers[x-role]", values: [admin]}]}]}`;
  await enforce(mesh, spec, async () => {
    const refused = await ask(at, web, "/", "x-role: admin\r\n");
    return refused.status === 403 && (await status("/")) === 200;
  });
  const headers: [string, number][] = [
    ["x-role: guest\r\n", 200],
    ["x-role: \r\n", 200],
    ["", 200],
    ["X-ROLE: admin\r\n", 403],
    ["x-role: guest\r\nX-Role: admin\r\n", 403],
    ["x-role: guest, admin\r\n", 403],
    ["X_Role: admin\r\n", 403],
    ["x-role:\tadmin \r\n", 403],
    ["__proto__: admin\r\nconstructor: admin\r\n", 200],
  ];
  for (const [more, expected] of headers) {
    app.received = "";
    t.equal((await ask(at, web, "/", more)).status, expected, JSON.stringify(more));
    if (expected !== 200) t.equal(app.received, "");
  }
  const hosts: [string, number][] = [
    ["admin.local", 403],
    ["Admin.LOCAL", 403],
    ["admin.local:8080", 403],
    ["admin.local.", 403],
    ["x@admin.local", 400],
    ["api", 200],
  ];
  for (const [host, expected] of hosts) {
    app.received = "";
    t.equal((await ask(at, web, "/", "", host)).status, expected, host);
    if (expected !== 200) t.equal(app.received, "");
  }
  t.equal((await ask(at, web, "http://admin.local/", "", "api")).status, 403, "the absolute form wins");
});

t.test("row 19: identities are whole texts; the caller learns the rule, a stranger nothing", async (t) => {
  await enforce(
    mesh,
    '{rules: [{from: [{source: {principals: ["mesh.local/ns/default/svc/web"]}}]}]}',
    async () => (await status("/", evil)) === 403,
  );
  app.received = "";
  const refused = await ask(at, evil, "/secret");
  t.match(refused.text, /^HTTP\/1\.1 403 /);
  t.match(refused.text, /\r\nx-remora-error: denied\r\n/);
  t.match(refused.text, /\r\nx-remora-denied-by: implicit-deny\r\n/);
  t.match(refused.text, /\r\n\r\nRBAC: access denied: implicit-deny\n$/);
  t.equal(app.received, "", "not one byte");
  const near = await identityIn(mesh, "web2");
  t.equal(await status("/", near), 403);
  const passed = await ask(at, web, "/");
  t.match(passed.text, /^HTTP\/1\.1 200 /);
  t.notMatch(passed.text, /forged/, "the application cannot speak for the sidecar");
  const labels = { policy: "implicit-deny", outcome: "denied" };
  t.ok((await metric(place.admin, "remora_authorization_total", labels)) >= 2);
  const allowed = { policy: "AuthorizationPolicy/default/test", rule: "0", outcome: "allowed" };
  t.ok((await metric(place.admin, "remora_authorization_total", allowed)) >= 1);
});

t.test("the application is told who calls, and by nobody else", async (t) => {
  const forged = [
    "x-forwarded-client-cert: By=me;URI=spiffe://mesh.local/ns/default/svc/admin",
    "X_Forwarded_Client_Cert: twin",
    "x-forwarded-client_cert: twin",
    "x-remora-caller: spiffe://mesh.local/ns/default/svc/admin",
    "X_REMORA_CALLER: twin",
    "x-remora-denied-by: me",
    "connection: x-forwarded-client-cert, x-remora-caller",
  ];
  app.received = "";
  const body = "transfer-encoding: chunked\r\n";
  const chunks =
    "0\r\nx-remora-caller: me\r\nX_Remora_Caller: me\r\nx-forwarded-client-cert: me\r\nx-fine: kept\r\n\r\n";
  const head = `POST / HTTP/1.1\r\nhost: api\r\n${forged.join("\r\n")}\r\n${body}\r\n${chunks}`;
  const socket = connectTo(at, web);
  const answer = converse(socket, head);
  await until("the request at the application", () => /x-remora-caller/.test(app.received));
  socket.end();
  t.match(await answer, /^HTTP\/1\.1 200/);
  const hash = createHash("sha256").update(new X509Certificate(web.cert).raw).digest("hex");
  const caller = "spiffe://mesh.local/ns/default/svc/web";
  const fields = app.received.split("\r\n").filter((line) => /^x[-_](remora|forwarded)[-_]/i.test(line));
  t.same(fields.sort(), [
    `x-forwarded-client-cert: By=spiffe://mesh.local/ns/default/svc/api;Hash=${hash};URI=${caller}`,
    `x-remora-caller: ${caller}`,
  ]);
  t.notMatch(app.received, /twin|: me|svc\/admin/);
});

t.test("HTTP/2 and gRPC", async (t) => {
  const spec = '{action: DENY, rules: [{to: [{operation: {paths: ["/admin", "/shop.Cart/*"]}}]}]}';
  await enforce(mesh, spec, async () => (await status("/admin")) === 403);
  const session = http2.connect("https://api", { createConnection: () => connectTo(at, web, "h2") });
  t.teardown(() => session.destroy());
  const send = (headers: http2.OutgoingHttpHeaders): Promise<http2.IncomingHttpHeaders> =>
    new Promise((resolve, reject) => {
      const stream = session.request({ ":authority": "api", ...headers });
      stream.on("response", resolve).on("error", reject).resume();
      stream.end();
    });
  app.received = "";
  for (const target of ["/admin", "//admin", "/x/../admin", "/adm%69n", "/admin;x=1", "/admin%2f"])
    t.match(await send({ ":path": target }), { ":status": 403, "x-remora-error": "denied" }, target);
  const grpc = {
    ":method": "POST",
    ":path": "/shop.Cart/Get",
    "content-type": "application/grpc",
    te: "trailers",
  };
  t.match(await send(grpc), {
    ":status": 200,
    "grpc-status": "7",
    "x-remora-denied-by": "AuthorizationPolicy/default/test/0",
  });
  t.equal(app.received, "", "not one byte");
  t.match(await send({ ":path": "/fine" }), { ":status": 200 });
});

const upgrade =
  "GET /chat HTTP/1.1\r\nhost: api\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

t.test("upgrades are requests; a tunnel that was let through outlives the policy", async (t) => {
  await mesh.apply(policy("{rules: [{}]}"));
  await until("all allowed", async () => (await status("/admin")) === 200);
  const tunnel = connectTo(at, web);
  let text = "";
  tunnel.setEncoding("latin1").on("data", (chunk: string) => (text += chunk));
  tunnel.on("error", () => undefined);
  t.teardown(() => tunnel.destroy());
  tunnel.write(upgrade);
  await until("the tunnel", () => /^HTTP\/1\.1 101/.test(text));
  await enforce(mesh, "{}", async () => (await status("/")) === 403);
  app.received = "";
  t.match(await converse(connectTo(at, web), upgrade), /^HTTP\/1\.1 403/);
  t.equal(app.received, "", "not one byte");
  tunnel.write("still here");
  await until("an echo", () => text.endsWith("still here"));
  t.pass("the tunnel is still open");
});

t.test("tried out: passes, and is told", async (t) => {
  await mesh.apply(policy("{mode: audit}"));
  await until("nothing refused", async () => (await status("/")) === 200);
  const labels = { policy: "implicit-deny", outcome: "would_deny" };
  t.ok((await metric(place.admin, "remora_authorization_total", labels)) >= 1);
});

t.test("TCP: not one byte of a refused connection", async (t) => {
  const echo = new ByteApp(true);
  const tcp = await mesh.place({ name: "echo", service: "echo", command: [], flags: ["--protocol", "tcp"] });
  await echo.listen(t, tcp.app);
  mesh.run(tcp);
  const open = (identity: Identity): Promise<string> => {
    const socket = connectTo(tcp.inbound, identity, "remora-tcp");
    return new Promise((resolve) => {
      let text = "";
      socket.setEncoding("latin1").on("data", (chunk: string) => {
        text += chunk;
        // Before it comes the byte that says that the application was reached.
        if (!text.endsWith("hello")) return;
        resolve("hello");
        socket.destroy();
      });
      socket.on("error", () => undefined).once("close", () => resolve("closed"));
      socket.write("hello");
    });
  };
  await until("the echo", async () => (await open(evil)) !== "closed");
  const doc = policy(
    '{targetRefs: [{kind: Service, name: echo}], rules: [{from: [{source: {principals: ["mesh.local/ns/default/svc/web"]}}]}]}',
    "echo",
  );
  await mesh.apply(doc);
  await until("the policy in force", async () => (await open(evil)) === "closed");
  echo.received = "";
  t.equal(await open(evil), "closed");
  t.equal(echo.received, "", "not one byte");
  t.equal(await open(web), "hello");
  t.match(echo.received, /hello/);
});

t.test("a restart without the control plane keeps what was in force; so do several workers", async (t) => {
  const closed = await startMesh(t);
  const own = new ByteApp();
  const several = await closed.place({ name: "api", service: "api", command: [], flags: ["--workers", "2"] });
  await own.listen(t, several.app);
  const first = closed.run(several);
  const caller = await identityIn(closed, "web");
  const answer = async (target: string): Promise<number> =>
    (await ask(several.inbound, caller, target)).status;
  await until("the sidecar serves", async () => (await answer("/")) === 200);
  await closed.apply(policy('{action: DENY, rules: [{to: [{operation: {paths: ["/admin"]}}]}]}'));
  const isRefused = async (): Promise<boolean> => {
    const answers = await Promise.all(Array.from({ length: 8 }, () => answer("/admin")));
    return answers.every((each) => each === 403);
  };
  await until("all workers refuse", isRefused);
  // It is written once a second at most; what comes in the second of a crash is lost with it.
  await until("the policy on the disk", () => isSaved(several.stateDir, "AuthorizationPolicy/default/test"));
  await closed.controlPlaneProcess?.kill();
  await first.kill();
  own.received = "";
  closed.run(several);
  await until("the sidecar serves again", async () => (await answer("/")) === 200);
  t.ok(await isRefused(), "still refused");
  t.notMatch(own.received, /admin/, "not one byte, at no moment of the start");
});

t.test("--default-action deny: what no policy allows is refused", async (t) => {
  const strict = await startMesh(t, { controlPlane: ["--default-action", "deny"] });
  const [caller, api] = await Promise.all([
    strict.join({ name: "web", service: "web", upstreams: ["api"] }),
    strict.join({ name: "api", service: "api" }),
  ]);
  await strict.untilKnown(caller, "api", [api]);
  const port = caller.upstreams.get("api") ?? 0;
  const refused = await call({ port });
  t.match(refused, { status: 403, error: "denied", body: "RBAC: access denied: implicit-deny\n" });
  const spec = "{selector: {matchLabels: {app: api}}, rules: [{from: [{source: {serviceAccounts: [web]}}]}]}";
  await strict.apply(policy(spec));
  await until("web allowed", async () => (await call({ port })).status === 200);
});
