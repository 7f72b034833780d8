/** Real processes: a gigabyte in each direction through two sidecars, to and from a peer that stalls, in bounded memory. */
import { createHash } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import http from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import t from "tap";
import { pattern, patternSha256 } from "../support/byte-pattern.js";
import { startMesh, type Running } from "../support/cli-mesh.js";

const mib = 1024 * 1024;
const total = 1024 * mib;
const warmUp = 64 * mib;
/**
 * Some MiB are held. Node has a new buffer for each TLS record that HTTP/2 reads, and V8 collects those that are done with when there
 * are 32 MiB of them; malloc keeps their pages for a while.
 */
const allowedGrowth = 64 * mib;
/** The peer reads nothing for so long after each so many bytes. */
const stall = { everyBytes: 128 * mib, forMs: 500 };

const isLinux = process.platform === "linux";
const mesh = await startMesh(t);
const [web, api] = await Promise.all([
  mesh.join({ name: "web", service: "web", upstreams: ["api"] }),
  mesh.join({ name: "api", service: "api" }),
]);
await mesh.untilKnown(web, "api", [api]);
const port = web.upstreams.get("api") ?? 0;

/** A line of /proc/<pid>/status, in bytes. VmRSS: now, VmHWM: the most since resetPeak. */
async function memory({ process: { pid } }: Running, key: "VmRSS" | "VmHWM"): Promise<number> {
  const text = await readFile(`/proc/${pid}/status`, "utf8");
  return Number(new RegExp(`^${key}:\\s+(\\d+) kB`, "m").exec(text)?.[1]) * 1024;
}

/** proc(5), clear_refs: 5 sets the peak to what is used now. */
async function resetPeak({ process: { pid } }: Running): Promise<void> {
  await writeFile(`/proc/${pid}/clear_refs`, "5");
}

/** Writes the pattern as fast as it is taken; resolves with what the application says of it. */
function upload(bytes: number): Promise<{ readonly bytes: number; readonly sha256: string }> {
  return new Promise((resolve, reject) => {
    const path = `/bytes?stallEvery=${stall.everyBytes}&stallMs=${stall.forMs}`;
    const headers = { "content-length": bytes };
    const request = http.request(
      { host: "127.0.0.1", port, method: "PUT", path, headers, agent: false },
      (response) => {
        let text = "";
        response.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
        response.on("error", reject);
        response.on("end", () => resolve(JSON.parse(text) as { bytes: number; sha256: string }));
      },
    );
    request.on("error", reject);
    let sent = 0;
    const send = (): void => {
      while (sent < bytes) {
        const piece = pattern.subarray(0, Math.min(pattern.length, bytes - sent));
        sent += piece.length;
        if (!request.write(piece)) return void request.once("drain", send);
      }
      request.end();
    };
    send();
  });
}

/** Reads a response, and nothing of it while it stalls. */
async function download(bytes: number): Promise<{ readonly bytes: number; readonly sha256: string }> {
  const response = await new Promise<http.IncomingMessage>((resolve, reject) => {
    const path = `/bytes?n=${bytes}`;
    http.get({ host: "127.0.0.1", port, path, agent: false }, resolve).on("error", reject);
  });
  const hash = createHash("sha256");
  let received = 0;
  let nextStall = stall.everyBytes;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    hash.update(chunk);
    received += chunk.length;
    if (received < nextStall) continue;
    nextStall += stall.everyBytes;
    await sleep(stall.forMs);
  }
  return { bytes: received, sha256: hash.digest("hex") };
}

const skip = isLinux ? false : "memory of a process is read from /proc";
const expected = { bytes: total, sha256: patternSha256(total) };

for (const [name, transfer] of [
  ["upload", upload],
  ["download", download],
] as const) {
  t.test(`a gigabyte of ${name} to a slow reader`, { skip }, async (t) => {
    // Code is compiled and buffers have their size before anything is measured.
    await transfer(warmUp);
    const sidecars = [web, api];
    const before = await Promise.all(sidecars.map((sidecar) => memory(sidecar, "VmRSS")));
    await Promise.all(sidecars.map(resetPeak));
    t.same(await transfer(total), expected, "arrived as it was sent");
    for (const [n, sidecar] of sidecars.entries()) {
      const growth = (await memory(sidecar, "VmHWM")) - (before[n] ?? 0);
      const text = `${sidecar.name}: +${(growth / mib).toFixed(1)} MiB at most`;
      t.comment(text);
      t.ok(growth < allowedGrowth, text);
    }
  });
}
