import { writeFile } from "node:fs/promises";
import path from "node:path";
import { findProgram } from "../program-path.js";
import type { Processes } from "../processes.js";
import type { LoadResult } from "./load-result.js";

/** One run of HTTP/1.1 GET requests. */
export interface HttpRun {
  readonly port: number;
  /** Each sends its next request when the reply to the one before has come. */
  readonly connections: number;
  readonly seconds: number;
  /** Host field; default the port's own address. */
  readonly host?: string;
}

export interface HttpLoad {
  /** Program and version, for the report. */
  readonly name: string;
  run(run: HttpRun): Promise<LoadResult>;
}

/** wrk's summary as one line of JSON; without a request function wrk sends its static request, as without a script. */
const wrkScript = `done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('\\n{"requests":%d,"bytes":%d,"durationUs":%d,"errors":%d,"p50Us":%d,"p99Us":%d}\\n',
    summary.requests, summary.bytes, summary.duration, e.connect + e.read + e.write + e.status + e.timeout,
    latency:percentile(50), latency:percentile(99)))
end
`;

/** wrk where it is there; it counts in whole seconds, so shorter runs use a small generator in a Node process. */
export async function chooseHttpLoad(dir: string, seconds: number, processes: Processes): Promise<HttpLoad> {
  const wrk = findProgram("wrk");
  return wrk === undefined || seconds < 1 ? nodeLoad(processes) : await wrkLoad(wrk, dir, processes);
}

async function wrkLoad(wrk: string, dir: string, processes: Processes): Promise<HttpLoad> {
  const script = path.join(dir, "wrk.lua");
  await writeFile(script, wrkScript);
  // wrk prints its version with its usage, and exit code 1.
  const usage = await processes.run("/bin/sh", ["-c", '"$0" -v 2>&1 || true', wrk]);
  return {
    name: usage.split("\n", 1)[0]?.split(" [", 1)[0] ?? "wrk",
    async run({ port, connections, seconds, host }) {
      const time = `${Math.max(1, Math.round(seconds))}s`;
      const output = await processes.run(wrk, [
        ...["--threads", "1", "--connections", `${connections}`, "--duration", time],
        ...(host === undefined ? [] : ["--header", `Host: ${host}`]),
        ...["--script", script, `http://127.0.0.1:${port}/`],
      ]);
      return lastLine(output);
    },
  };
}

function nodeLoad(processes: Processes): HttpLoad {
  const script = path.join(import.meta.dirname, "node-http.js");
  return {
    name: `node:http client on Node ${process.version}`,
    async run(run) {
      return lastLine(await processes.run(process.execPath, [script, JSON.stringify(run)]));
    },
  };
}

function lastLine(output: string): LoadResult {
  return JSON.parse(output.trim().split("\n").pop() ?? "") as LoadResult;
}
