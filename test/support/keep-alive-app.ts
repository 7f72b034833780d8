/**
 * An application that closes connections idle for KEEP_ALIVE_MS, and tells what it executed by GET /seen past the mesh. PORT from
 * the environment, and LANES: requests are answered together once so many of them are there. Each then had a connection of its
 * own, and all connections have been idle since the same moment. SILENT=1: it does not say how long it keeps connections.
 * CROSSING_MS: a connection idle for so long is closed by the next request on it, unexecuted, so that the two always cross.
 */
import { createServer, type ServerResponse } from "node:http";
import type { Socket } from "node:net";

/** What GET /seen answers. */
export interface KeepAliveApplication {
  /** The id of each request, as often as it was executed. */
  readonly executed: readonly string[];
  /** Of them, on a connection that had carried another one before. */
  readonly onReused: number;
  /** The longest that any of these had been idle. */
  readonly longestIdleMs: number;
  /** Requests that crossed with the end of their connection. */
  readonly crossed: number;
}

const numberOf = (name: string, otherwise: number): number => Number(process.env[name] ?? otherwise);
const lanes = numberOf("LANES", 1);
const crossingMs = numberOf("CROSSING_MS", Infinity);
const keepAliveMs = numberOf("KEEP_ALIVE_MS", 5000);
const isSilent = process.env["SILENT"] === "1";
/** What those that are there wait for a request that never comes. */
const patienceMs = 2000;

const executed: string[] = [];
let onReused = 0;
let longestIdleMs = 0;
let crossed = 0;
const held: ServerResponse[] = [];
let release: NodeJS.Timeout | undefined;
/** Since when a connection has been idle; absent: it has carried nothing yet. */
const idleSinceMs = new WeakMap<Socket, number>();

const server = createServer((request, response) => {
  const { pathname, searchParams } = new URL(request.url ?? "/", "http://app");
  if (pathname === "/seen") {
    const seen: KeepAliveApplication = { executed, onReused, longestIdleMs, crossed };
    return void response.end(JSON.stringify(seen));
  }
  const sinceMs = idleSinceMs.get(request.socket);
  if (sinceMs !== undefined) {
    const idleMs = performance.now() - sinceMs;
    if (idleMs >= crossingMs) {
      crossed++;
      return void request.socket.destroy();
    }
    onReused++;
    longestIdleMs = Math.max(longestIdleMs, idleMs);
  }
  executed.push(searchParams.get("id") ?? "");
  request.resume();
  held.push(response);
  if (held.length >= lanes) answerAll();
  else release ??= setTimeout(answerAll, patienceMs);
});

function answerAll(): void {
  clearTimeout(release);
  release = undefined;
  for (const response of held.splice(0)) {
    const { socket } = response;
    // Node tells its time only along with a Connection field of its own.
    if (isSilent) response.setHeader("connection", "keep-alive");
    response.end("done\n", () => {
      if (socket === null) return;
      idleSinceMs.set(socket, performance.now());
      // To the millisecond: some releases of Node keep connections a second longer than they say.
      socket.setTimeout(keepAliveMs);
    });
  }
}

server.keepAliveTimeout = keepAliveMs;
server.listen(Number(process.env["PORT"]), "127.0.0.1");
// Whoever started the mesh is gone.
process.stdin.on("end", () => process.exit()).resume();
