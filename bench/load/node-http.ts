/** A small load generator: `node node-http.js RUN`, an HttpRun as JSON; prints a LoadResult as JSON. */
import http from "node:http";
import { quantile } from "../median.js";
import type { HttpRun } from "./http-load.js";
import type { LoadResult } from "./load-result.js";

const { port, connections, seconds, host } = JSON.parse(process.argv[2] ?? "{}") as HttpRun;
const headers = { host: host ?? `127.0.0.1:${port}` };
const agent = new http.Agent({ keepAlive: true, maxSockets: connections });
/** By each connection, even when the time is over: fewer say nothing on a machine that hardly lets us run. */
const leastRequests = 10;
const startMs = performance.now();
const endMs = startMs + seconds * 1000;
const latenciesUs: number[] = [];
let errors = 0;
let bytes = 0;

function once(): Promise<void> {
  return new Promise((resolve) => {
    const sentMs = performance.now();
    const failed = (): void => {
      errors++;
      resolve();
    };
    const request = http.get({ host: "127.0.0.1", port, agent, headers, timeout: 2000 }, (response) => {
      response.on("data", (chunk: Buffer) => (bytes += chunk.length));
      response.once("error", failed);
      response.once("end", () => {
        if ((response.statusCode ?? 0) >= 400) return failed();
        latenciesUs.push((performance.now() - sentMs) * 1000);
        resolve();
      });
    });
    request.once("timeout", () => request.destroy(new Error("timeout")));
    request.once("error", failed);
  });
}

async function connection(): Promise<void> {
  for (let sent = 0; sent < leastRequests || performance.now() < endMs; sent++) await once();
}

await Promise.all(Array.from({ length: connections }, connection));
agent.destroy();
latenciesUs.sort((a, b) => a - b);
const result: LoadResult = {
  requests: latenciesUs.length,
  errors,
  bytes,
  durationUs: (performance.now() - startMs) * 1000,
  p50Us: quantile(latenciesUs, 0.5),
  p99Us: quantile(latenciesUs, 0.99),
};
console.log(JSON.stringify(result));
