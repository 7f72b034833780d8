/** grpc_peer.py as a child process: gRPC's C core at the other end of the wire. */
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import path from "node:path";
import { createInterface } from "node:readline";
import { z } from "zod";
import type { EchoMethod } from "./grpc-peers.js";
import { eventually } from "./eventually.js";
import { pythonWith, skipWithoutPython } from "./python.js";

/** Debian's python3-grpcio belongs to Debian's Python, whatever else is on PATH. */
const python = pythonWith("grpc");
const script = path.resolve(import.meta.dirname, "../../../test/support/grpc_peer.py");

/** tap's `skip` option: false when there is a Python with grpcio, else the reason. With CI=true it never skips. */
export function skipWithoutPythonGrpc(): string | false {
  return skipWithoutPython("grpc");
}

const seenCall = z.object({
  event: z.literal("call"),
  method: z.string(),
  outcome: z.enum(["done", "cancelled"]),
  deadlineMs: z.number().nullable(),
  metadata: z.record(z.string(), z.string()),
  /** Messages received. */
  count: z.number(),
});
/** A call that has ended, as the server saw it. */
export type PythonSeenCall = z.infer<typeof seenCall>;

const outcome = z.object({
  status: z.number(),
  details: z.string(),
  headers: z.record(z.string(), z.string()),
  trailers: z.record(z.string(), z.string()),
  /** The first message, at most 200 bytes of it, as latin1. */
  first: z.string().nullable(),
  count: z.number(),
  bytes: z.number(),
  sha256: z.string(),
  tookMs: z.number(),
});
/** How a call ended, as the client saw it. */
export type PythonOutcome = z.infer<typeof outcome>;

export class PythonEchoServer {
  readonly calls: PythonSeenCall[] = [];
  port = 0;
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess) {
    this.#child = child;
  }

  static async start(port = 0): Promise<PythonEchoServer> {
    const child = spawn(python, [script, "server", "--port", String(port)], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    const made = new PythonEchoServer(child);
    createInterface({ input: child.stdout }).on("line", (line) => {
      const said: unknown = JSON.parse(line);
      const listening = z.object({ event: z.literal("listening"), port: z.number() }).safeParse(said);
      if (listening.success) made.port = listening.data.port;
      else made.calls.push(seenCall.parse(said));
    });
    await eventually("grpc_peer.py listens", () => made.port !== 0);
    return made;
  }

  get address(): string {
    return `127.0.0.1:${this.port}`;
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  /** Its input ends, and so does it. */
  async close(): Promise<void> {
    if (this.#child.exitCode !== null) return;
    this.#child.stdin?.end();
    await once(this.#child, "exit");
  }

  kill(): void {
    this.#child.kill("SIGKILL");
  }
}

export interface PythonCallOptions {
  readonly messages?: readonly string[];
  /** In place of `messages`: `count` times (default 1) the pattern of so many bytes. */
  readonly size?: number;
  readonly count?: number;
  /** Values of `-bin` keys in base64. */
  readonly metadata?: Readonly<Record<string, string>>;
  readonly deadlineMs?: number;
  readonly cancelAfter?: number;
  readonly cancelAfterMs?: number;
  readonly repeat?: number;
  readonly authority?: string;
}

/** Runs calls from a Python client to their end; one outcome per repetition. Killed after 30 s. */
export async function pythonCalls(
  address: string,
  method: EchoMethod,
  options: PythonCallOptions = {},
): Promise<PythonOutcome[]> {
  const { messages = [], metadata = {}, size, count, deadlineMs } = options;
  const { cancelAfter, cancelAfterMs, repeat, authority } = options;
  const flags: string[] = [];
  for (const message of messages) flags.push(`--message=${message}`);
  for (const [key, value] of Object.entries(metadata)) flags.push(`--metadata=${key}=${value}`);
  if (size !== undefined) flags.push(`--size=${size}`, `--count=${count ?? 1}`);
  if (deadlineMs !== undefined) flags.push(`--deadline=${deadlineMs / 1000}`);
  if (cancelAfter !== undefined) flags.push(`--cancel-after=${cancelAfter}`);
  if (cancelAfterMs !== undefined) flags.push(`--cancel-after-ms=${cancelAfterMs}`);
  if (repeat !== undefined) flags.push(`--repeat=${repeat}`);
  if (authority !== undefined) flags.push(`--authority=${authority}`);
  const child = spawn(python, [script, "client", address, method, ...flags], {
    stdio: ["ignore", "pipe", "pipe"],
    timeout: 30_000,
    killSignal: "SIGKILL",
  });
  let out = "";
  let err = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => (out += text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => (err += text));
  const [code] = (await once(child, "close")) as [number | null];
  if (code !== 0) throw new Error(`grpc_peer.py client ended with ${code ?? "a signal"}: ${err}`);
  return out
    .trim()
    .split("\n")
    .map((line) => outcome.parse(JSON.parse(line)));
}
