import http from "node:http";
import { untilReady, type Started } from "./processes.js";

/** Bytes of the application's reply. */
export const replyBytes = 1024;
const readyTimeoutMs = 60_000;
const requestTimeoutMs = 2000;

/** Waits until a GET for `api` on the port gives the application's whole reply. */
export function untilServing(port: number, processes: readonly Started[]): Promise<void> {
  return untilReady(processes, readyTimeoutMs, async () => {
    const { status, bytes } = await get(port);
    if (status === 200 && bytes === replyBytes) return;
    throw new Error(`expected 200 with ${replyBytes} bytes, got ${status} with ${bytes}`);
  });
}

function get(port: number): Promise<{ readonly status: number; readonly bytes: number }> {
  return new Promise((resolve, reject) => {
    const request = http.get(
      { host: "127.0.0.1", port, agent: false, headers: { host: "api" }, timeout: requestTimeoutMs },
      (response) => {
        let bytes = 0;
        response.on("data", (chunk: Buffer) => (bytes += chunk.length));
        response.once("end", () => resolve({ status: response.statusCode ?? 0, bytes }));
        response.once("error", reject);
      },
    );
    request.once("timeout", () => request.destroy(new Error("no answer within two seconds")));
    request.once("error", reject);
  });
}
