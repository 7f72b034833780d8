/**
 * The application of the mesh tests, started by `remora run`. PORT, NAME, LEDGER (file that POSTs are written to) from the
 * environment; FAREWELL=n: makes n calls to API_URL after SIGTERM and exits with the number of those that failed.
 */
import { createHash } from "node:crypto";
import { appendFileSync } from "node:fs";
import http, { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { pattern } from "./byte-pattern.js";

const name = process.env["NAME"] ?? "app";
const ledger = process.env["LEDGER"] ?? "/dev/null";
let served = 0;
/** Status of every answer; set with POST /mode?status=503 on the application's own port. */
let status = 200;
/** Status of GET /health, for the registry's check; set with POST /health?status=503. */
let health = 200;

const server = createServer((request, response) => {
  answer(request, response).catch(() => response.destroy());
});

async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const url = new URL(request.url ?? "/", "http://app");
  const number = (key: string): number => Number(url.searchParams.get(key) ?? 0);
  const json = (code: number, body: unknown): void =>
    void response.writeHead(code, { "content-type": "application/json" }).end(JSON.stringify(body));
  switch (url.pathname) {
    case "/count":
      return json(200, { served });
    case "/mode":
      return json(200, { status: (status = number("status")) });
    case "/health":
      if (request.method === "POST") health = number("status");
      return json(request.method === "POST" ? 200 : health, { health });
    case "/bytes":
      served++;
      return request.method === "GET"
        ? sendBytes(response, number("n"))
        : json(200, await readSlowly(request, number("stallEvery"), number("stallMs")));
  }
  served++;
  let body = "";
  for await (const chunk of request.setEncoding("utf8")) body += String(chunk);
  if (number("ms") > 0) await sleep(number("ms"));
  // One write below PIPE_BUF in append mode: instances share the file.
  if (request.method === "POST") appendFileSync(ledger, `${body}\n`);
  json(status, { instance: name, caller: request.headers["x-remora-caller"] ?? null });
}

async function sendBytes(response: ServerResponse, count: number): Promise<void> {
  let wake = (): void => undefined;
  response.on("drain", () => wake()).on("close", () => wake());
  response.writeHead(200, { "content-length": count });
  for (let at = 0; at < count; at += pattern.length) {
    const piece = pattern.subarray(0, Math.min(pattern.length, count - at));
    if (!response.write(piece)) await new Promise<void>((resolve) => (wake = resolve));
    if (response.destroyed) return;
  }
  response.end();
}

/** Reads a body, and nothing at all for `stallMs` after each `stallEvery` bytes. */
async function readSlowly(
  request: IncomingMessage,
  stallEvery: number,
  stallMs: number,
): Promise<{ readonly bytes: number; readonly sha256: string }> {
  const hash = createHash("sha256");
  let bytes = 0;
  let nextStall = stallEvery;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    hash.update(chunk);
    bytes += chunk.length;
    if (stallEvery === 0 || bytes < nextStall) continue;
    nextStall += stallEvery;
    await sleep(stallMs);
  }
  return { bytes, sha256: hash.digest("hex") };
}

/** How many of `count` calls to the upstream failed. */
async function sayFarewell(count: number): Promise<number> {
  let failures = 0;
  for (let n = 0; n < count; n++) {
    const isWell = await new Promise<boolean>((resolve) => {
      const call = http.get(`${process.env["API_URL"]}/?ms=5`, { timeout: 10_000 }, (reply) => {
        reply.resume().once("end", () => resolve(reply.statusCode === 200));
        reply.once("error", () => resolve(false));
      });
      call.once("timeout", () => call.destroy());
      call.once("error", () => resolve(false));
    });
    if (!isWell) failures++;
  }
  return failures;
}

process.once("SIGTERM", () => {
  void sayFarewell(Number(process.env["FAREWELL"] ?? 0)).then((failures) => {
    console.log(`farewell: ${failures} calls failed`);
    server.close(() => process.exit(failures));
    server.closeIdleConnections();
  });
});
// Whoever started the mesh is gone.
process.stdin.on("end", () => process.exit(1)).resume();
server.listen(Number(process.env["PORT"]), "127.0.0.1");
