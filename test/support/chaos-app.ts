/**
 * An application that can be told to fail, for `make chaos`. PORT, NAME and NEXT (a service) from the environment. What it does is set by
 * POST /mode?is=ok|unavailable|hang|reset|flap|warm&ms=..., and GET /received tells how many requests came since the last time.
 * GET /chain asks NEXT through the mesh; with `?direct=PORTS` the applications at these ports past it, three times each as a
 * careful client does where nobody does it for him.
 */
import http, { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { Socket } from "node:net";

const name = process.env["NAME"] ?? "app";
const next = process.env[`${process.env["NEXT"]?.toUpperCase()}_URL`];
/** A flapping instance is ill and well in turns of this. */
const flapMs = 500;
/** How long a cold instance takes to become as quick as the others. */
const warmUpMs = 3000;
/** Attempts that an application makes by itself where nobody does it for it. */
const ownAttempts = 3;
const agent = new http.Agent({ keepAlive: true, maxSockets: 64 });

let mode = "ok";
let delayMs = 0;
let modeAtMs = performance.now();
let received = 0;

createServer((request, response) => {
  const url = new URL(request.url ?? "/", "http://app");
  switch (url.pathname) {
    case "/mode":
      mode = url.searchParams.get("is") ?? "ok";
      delayMs = Number(url.searchParams.get("ms") ?? 0);
      modeAtMs = performance.now();
      return end(response, 200);
    case "/received": {
      const count = received;
      received = 0;
      return void response.end(String(count));
    }
    case "/health":
      return end(response, 200);
  }
  received++;
  behave(request, response, url);
})
  .on("connection", (socket: Socket) => socket.setNoDelay(true))
  .listen(Number(process.env["PORT"]), "127.0.0.1");

function behave(request: IncomingMessage, response: ServerResponse, url: URL): void {
  switch (mode) {
    case "unavailable":
      return end(response, 503);
    case "hang":
      return;
    case "reset":
      return void request.socket.resetAndDestroy();
    case "flap": {
      const isIll = Math.floor((performance.now() - modeAtMs) / flapMs) % 2 === 0;
      return end(response, isIll ? 503 : 200);
    }
    case "warm": {
      const left = 1 - (performance.now() - modeAtMs) / warmUpMs;
      return void setTimeout(() => end(response, 200), Math.max(0, delayMs * left));
    }
  }
  if (url.pathname !== "/chain" || next === undefined) return end(response, 200);
  void chain(request, url.searchParams.get("direct")).then((status) => end(response, status));
}

function end(response: ServerResponse, status: number): void {
  response.writeHead(status, { "content-type": "text/plain" }).end(`${name}\n`);
}

/** Passes on what traces a request, and nothing else, as most applications do. */
async function chain({ headers }: IncomingMessage, direct: string | null): Promise<number> {
  const traced: Record<string, string> = {};
  for (const field of ["traceparent", "x-request-id"]) {
    const value = headers[field];
    if (typeof value === "string") traced[field] = value;
  }
  if (direct === null || direct === "") return ask(new URL("/chain", next), traced);
  const [port, ...rest] = direct.split(",");
  const target = new URL(`http://127.0.0.1:${port}/chain?direct=${rest.join(",")}`);
  let status = 502;
  for (let attempt = 0; attempt < ownAttempts && status >= 500; attempt++) status = await ask(target, traced);
  return status;
}

function ask(target: URL, headers: Record<string, string>): Promise<number> {
  return new Promise((resolve) => {
    http
      .get(target, { agent, headers, timeout: 5000 }, (response) => {
        response.resume();
        response.on("error", () => resolve(502));
        response.on("end", () => resolve(response.statusCode ?? 502));
      })
      .on("timeout", function (this: http.ClientRequest) {
        this.destroy(new Error("timeout"));
      })
      .on("error", () => resolve(502));
  });
}

process.stdin.on("end", () => process.exit()).resume();
