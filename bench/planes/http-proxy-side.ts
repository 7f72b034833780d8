/** One side of the http-proxy pair: `node http-proxy-side.js SETTINGS`, settings as JSON. */
import { readFileSync } from "node:fs";
import http from "node:http";
import https from "node:https";
import httpProxy from "http-proxy";
import type { IdentityFiles } from "../identities.js";

export interface SideSettings extends IdentityFiles {
  readonly role: "outbound" | "inbound";
  readonly port: number;
  /** Port on 127.0.0.1 that requests go on to. */
  readonly target: number;
  readonly ca: string;
}

/** Longer than a round: Node's 5 s would close connections under the other side's hands. */
const keepAliveMs = 600_000;

const settings = JSON.parse(process.argv[2] ?? "{}") as SideSettings;
const identity = {
  cert: readFileSync(settings.cert),
  key: readFileSync(settings.key),
  ca: readFileSync(settings.ca),
  minVersion: "TLSv1.3",
} as const;

const isOutbound = settings.role === "outbound";
const proxy = httpProxy.createProxyServer({
  target: `${isOutbound ? "https" : "http"}://127.0.0.1:${settings.target}`,
  agent: isOutbound
    ? // The chain is verified; an SVID has no host name that could be compared.
      new https.Agent({ ...identity, keepAlive: true, checkServerIdentity: () => undefined })
    : new http.Agent({ keepAlive: true }),
});
proxy.on("error", (_error, _request, response) => {
  if ("writeHead" in response && !response.headersSent) response.writeHead(502);
  response.end();
});

const forward = (request: http.IncomingMessage, response: http.ServerResponse): void =>
  proxy.web(request, response);
const server = isOutbound
  ? http.createServer(forward)
  : https.createServer({ ...identity, requestCert: true, rejectUnauthorized: true }, forward);
server.keepAliveTimeout = keepAliveMs;
server.listen(settings.port, "127.0.0.1");
