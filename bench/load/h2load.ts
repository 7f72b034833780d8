import { readFile, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { quantile } from "../median.js";
import { requireProgram } from "../program-path.js";
import type { Processes } from "../processes.js";
import type { LoadResult } from "./load-result.js";

/** One run of unary calls in the shape of gRPC: HTTP/2 without TLS and without an upgrade. */
export interface H2Run {
  readonly port: number;
  readonly connections: number;
  /** Calls at once on each connection. */
  readonly streams: number;
  readonly seconds: number;
}

/** A gRPC message of five bytes, with its prefix (gRPC over HTTP/2: compressed flag, length). */
const message = Buffer.concat([Buffer.from([0, 0, 0, 0, 5]), Buffer.from("hello")]);

/** h2load, with the time of each call in its log. */
export interface H2Load {
  readonly name: string;
  run(run: H2Run): Promise<LoadResult>;
}

/** Throws when h2load is missing. */
export async function openH2Load(dir: string, processes: Processes): Promise<H2Load> {
  const program = requireProgram("h2load");
  const body = path.join(dir, "message");
  await writeFile(body, message);
  const name = (await processes.run(program, ["--version"])).trim();
  return {
    name,
    async run({ port, connections, streams, seconds }) {
      const log = path.join(dir, "h2load.log");
      await rm(log, { force: true }); // it appends
      const output = await processes.run(program, [
        ...["-c", `${connections}`, "-m", `${streams}`, "-t", "1", "-D", `${Math.round(seconds * 1000)}ms`],
        ...["-d", body, "-H", "content-type: application/grpc", "-H", "te: trailers"],
        ...["--log-file", log, `http://127.0.0.1:${port}/bench.Echo/Say`],
      ]);
      return readH2load(output, await readFile(log, "latin1"), seconds);
    },
  };
}

/**
 * h2load's summary, and its log: `start status microseconds` per call.
 * Calls that were under way when time was up belong to neither.
 */
export function readH2load(output: string, log: string, seconds: number): LoadResult {
  const [, done = "0", failed = "0", errored = "0", timeout = "0"] =
    /(\d+) done, \d+ succeeded, (\d+) failed, (\d+) errored, (\d+) timeout/.exec(output) ?? [];
  const [, bad4 = "0", bad5 = "0"] = /(\d+) 4xx, (\d+) 5xx/.exec(output) ?? [];
  const [, bytes = "0"] = /traffic: \S+ \((\d+)\) total/.exec(output) ?? [];
  const took = log
    .split("\n")
    .flatMap((line) => {
      const [, , us] = line.split("\t");
      return us === undefined ? [] : [Number(us)];
    })
    .sort((a, b) => a - b);
  // `failed` holds `errored` and `timeout`; a refusing status is counted in `done` alone.
  const errors = Math.max(Number(failed), Number(errored) + Number(timeout)) + Number(bad4) + Number(bad5);
  return {
    requests: Number(done),
    errors,
    bytes: Number(bytes),
    durationUs: seconds * 1e6,
    p50Us: quantile(took, 0.5),
    p99Us: quantile(took, 0.99),
  };
}
