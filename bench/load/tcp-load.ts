/** Load for raw TCP: `node tcp-load.js RUN`, a TcpRun as JSON; prints a TcpResult as JSON. */
import net from "node:net";
import { quantile } from "../median.js";
import type { TcpResult, TcpRun } from "./tcp-run.js";

const { port, connections, seconds, messageBytes, kind } = JSON.parse(process.argv[2] ?? "{}") as TcpRun;
const message = Buffer.alloc(messageBytes, "m");
const startMs = performance.now();
const endMs = startMs + seconds * 1000;
const latenciesUs: number[] = [];
let bytes = 0;
let errors = 0;

/** A message there and back, then the next. */
function pingPong(socket: net.Socket): void {
  let received = 0;
  let sentMs = performance.now();
  socket.on("data", (chunk: Buffer) => {
    received += chunk.length;
    if (received < messageBytes) return;
    received -= messageBytes;
    bytes += 2 * messageBytes;
    latenciesUs.push((performance.now() - sentMs) * 1000);
    if (performance.now() >= endMs) return void socket.end();
    sentMs = performance.now();
    socket.write(message);
  });
  socket.write("e");
  socket.write(message);
}

/**
 * One direction, as fast as it goes; what counts is what the application says it has got. Nothing depends on a half-close, which
 * not every proxy carries.
 */
function bulk(socket: net.Socket): void {
  const mib = 2 ** 20;
  let sent = 0;
  let isSending = true;
  let lines = "";
  const fill = (): void => {
    while (performance.now() < endMs || sent % mib !== 0) {
      sent += messageBytes;
      if (!socket.write(message)) return void socket.once("drain", fill);
    }
    isSending = false;
  };
  socket.on("data", (chunk: Buffer) => {
    lines = (lines + chunk.toString("latin1")).slice(-100);
    const confirmed = Number(/(\d+)\n$/.exec(lines)?.[1] ?? 0);
    if (isSending || confirmed < sent) return;
    bytes += confirmed;
    socket.end();
  });
  socket.write("s");
  fill();
}

function connection(): Promise<void> {
  return new Promise((resolve) => {
    const socket = net.connect({ port, host: "127.0.0.1", noDelay: true });
    socket.once("connect", () => (kind === "bulk" ? bulk : pingPong)(socket));
    socket.once("error", () => errors++);
    socket.once("close", () => resolve());
    socket.setTimeout(10_000, () => socket.destroy(new Error("stalled")));
  });
}

await Promise.all(Array.from({ length: connections }, connection));
latenciesUs.sort((a, b) => a - b);
const result: TcpResult = {
  bytes,
  errors,
  durationUs: (performance.now() - startMs) * 1000,
  p50Us: quantile(latenciesUs, 0.5),
  p99Us: quantile(latenciesUs, 0.99),
};
console.log(JSON.stringify(result));
