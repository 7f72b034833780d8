import path from "node:path";
import type { Processes } from "../processes.js";

export interface TcpRun {
  readonly port: number;
  readonly connections: number;
  readonly seconds: number;
  readonly messageBytes: number;
  /** `messages`: each there and back before the next; `bulk`: one direction without a pause. */
  readonly kind: "messages" | "bulk";
}

export interface TcpResult {
  /** Carried, both directions together. */
  readonly bytes: number;
  /** Connections that failed. */
  readonly errors: number;
  readonly durationUs: number;
  /** Of a message there and back; 0 for bulk. */
  readonly p50Us: number;
  readonly p99Us: number;
}

/** Runs the load in a process of its own. */
export async function runTcpLoad(run: TcpRun, processes: Processes): Promise<TcpResult> {
  const script = path.join(import.meta.dirname, "tcp-load.js");
  return JSON.parse(await processes.run(process.execPath, [script, JSON.stringify(run)])) as TcpResult;
}
