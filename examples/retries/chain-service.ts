/**
 * A service of the chain a, b, leaf: passes each request on to the next one and answers what that answers. Of its caller's
 * request it forwards `traceparent` alone, as tracing libraries do. The last one has no next: it fails, slowly where asked.
 */
import http, { createServer, type IncomingMessage, type ServerResponse } from "node:http";

const next = process.env["B_URL"] ?? process.env["LEAF_URL"];
const slowMs = 3000;
let served = 0;
/** How long the caller of /slow waited; -1 = nobody has called. */
let waitedMs = -1;

function passOn(to: string, request: IncomingMessage, response: ServerResponse): void {
  const headers = { traceparent: request.headers["traceparent"] ?? "" };
  http
    .get(`${to}${request.url ?? "/"}`, { headers }, (answer) => {
      response.writeHead(answer.statusCode ?? 502);
      answer.pipe(response);
    })
    .once("error", () => response.writeHead(502).end());
}

function fail(request: IncomingMessage, response: ServerResponse): void {
  served++;
  if (request.url === "/reset") return void request.socket.resetAndDestroy();
  // Kept alive, a connection that is reset might be one that was about to be closed: then sidecars try once more themselves.
  response.setHeader("connection", "close");
  if (request.url !== "/slow") return void response.writeHead(503).end("down\n");
  const beganMs = Date.now();
  const timer = setTimeout(() => response.end("late\n"), slowMs);
  response.once("close", () => {
    clearTimeout(timer);
    waitedMs = Date.now() - beganMs;
  });
}

const server = createServer((request, response) => {
  if (request.url === "/count") response.end(JSON.stringify({ served, waitedMs }));
  else if (next === undefined) fail(request, response);
  else passOn(next, request, response);
});
process.once("SIGTERM", () => {
  server.close(() => process.exit(0));
  server.closeAllConnections();
});
server.listen(Number(process.env["PORT"]), "127.0.0.1");
