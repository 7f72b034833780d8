/** Row 82 of the catalogue of attacks: what a web page or a stranger can do at the two admin APIs. Nothing. */
import { readFileSync } from "node:fs";
import { request as httpRequest } from "node:http";
import { networkInterfaces } from "node:os";
import { connect } from "node:net";
import { text } from "node:stream/consumers";
import t from "tap";
import { startMesh } from "../support/cli-mesh.js";

interface Answer {
  readonly status: number;
  readonly type: string;
  readonly sniff: string;
  readonly body: string;
}

function ask(
  port: number,
  method: string,
  path: string,
  headers: Record<string, string> = {},
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const call = httpRequest({ host: "127.0.0.1", port, method, path, headers, agent: false }, (response) => {
      const { "content-type": type = "", "x-content-type-options": sniff = "" } = response.headers;
      text(response).then(
        (body) => resolve({ status: response.statusCode ?? 0, type, sniff: String(sniff), body }),
        reject,
      );
    });
    call.on("error", reject);
    call.end();
  });
}

const html = "<script>alert(1)</script>";

t.test("row 82: both admin APIs against web pages and strangers", async (t) => {
  const mesh = await startMesh(t);
  const web = await mesh.join({ name: "web-1", service: "web" });
  const token = readFileSync(`${mesh.dataDir}/admin.token`, "utf8").trim();
  const authorization = `Bearer ${token}`;
  const apis = [
    {
      name: "sidecar",
      port: web.admin,
      own: {},
      read: "/config_dump",
      change: "/healthcheck/fail",
      method: "POST",
    },
    {
      name: "control plane",
      port: mesh.adminPort,
      own: { authorization },
      read: "/v1/status",
      change: "/v1/certificates/revoke",
      method: "POST",
    },
  ];
  for (const { name, port, own, read, change, method } of apis) {
    t.match(await ask(port, "GET", read, own), { status: 200 }, `${name}: its owner reads`);

    // DNS rebinding: the page's own name, which resolves to 127.0.0.1.
    for (const host of [
      "evil.example",
      `evil.example:${port}`,
      `127.0.0.1.evil.example:${port}`,
      "10.0.0.1",
    ]) {
      const answer = await ask(port, "GET", read, { ...own, host });
      t.match(String(answer.status), /^(403|421)$/, `${name}: Host ${host}`);
      t.notMatch(answer.body, /web-1|mesh\.local|trustDomain/, "says nothing about the mesh");
      t.match(String((await ask(port, method, change, { ...own, host })).status), /^(403|421)$/);
    }
    // CSRF: a form or a script of another origin; "null" is a sandboxed frame or a file.
    for (const origin of ["http://evil.example", "null", `https://127.0.0.1:${port}`, "http://localhost:1"]) {
      t.equal((await ask(port, method, change, { ...own, origin })).status, 403, `${name}: Origin ${origin}`);
      t.equal((await ask(port, "GET", read, { ...own, origin })).status, 403);
    }
    // A change by a link or an image.
    for (const wrong of ["GET", "HEAD"])
      t.equal((await ask(port, wrong, change, own)).status, 405, `${name}: ${wrong} changes nothing`);

    // What comes from outside is never markup.
    const escaped = await ask(port, "GET", `/${encodeURI(html)}`, own);
    t.equal(escaped.status, 404);
    t.match(escaped.type, /^(text\/plain|application\/json)/, `${name}: ${escaped.type}`);
    t.equal(escaped.sniff, "nosniff");
    t.notMatch(escaped.body, html);
  }
  t.match(await ask(web.admin, "GET", "/ready"), { status: 200 }, "the sidecar was not failed by anybody");

  for (const page of ["/config_dump", "/certs", "/server_info", "/clusters"]) {
    const { body } = await ask(web.admin, "GET", page);
    t.notMatch(body, /PRIVATE KEY|rmr1\.|rma1\./, `${page}: no key, no token`);
  }
  const key = readFileSync(`${web.stateDir}/svid.pem`, "utf8");
  const secret = /PRIVATE KEY-----\n([^\n]+)/.exec(key)?.[1] ?? "";
  t.ok(secret.length > 20, "the key that must not be seen");
  t.notOk((await ask(web.admin, "GET", "/config_dump")).body.includes(secret));

  // Loopback only: from the address of this machine nobody answers.
  const outside = Object.values(networkInterfaces())
    .flat()
    .find((one) => one !== undefined && one.family === "IPv4" && !one.internal)?.address;
  if (outside === undefined) t.comment("this machine has no other address than loopback");
  else
    for (const port of [web.admin, mesh.adminPort])
      t.equal(await isOpen(outside, port), false, `${outside}:${port} is closed`);

  // Without its token the control plane says nothing, wherever the request comes from.
  t.match(await ask(mesh.adminPort, "GET", "/v1/status"), { status: 401, body: /no admin token/ });
  t.match(await ask(mesh.adminPort, "POST", "/v1/documents"), { status: 401 });
});

function isOpen(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port }, () => {
      socket.destroy();
      resolve(true);
    });
    socket.on("error", () => resolve(false));
  });
}
