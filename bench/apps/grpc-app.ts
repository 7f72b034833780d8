import { writeFile } from "node:fs/promises";
import http2 from "node:http2";
import path from "node:path";
import { freePorts } from "../free-ports.js";
import { nginxConfig } from "../planes/nginx-config.js";
import { untilReady, type Processes, type Started } from "../processes.js";
import { requireProgram } from "../program-path.js";

/** Bytes of the body of a reply: a gRPC message with its prefix. */
const replyBytes = 40;
const readyTimeoutMs = 60_000;
const callTimeoutMs = 2000;

/** A unary gRPC method as seen on the wire: head, one message, `grpc-status: 0` in trailers. */
export interface GrpcApp {
  readonly port: number;
  readonly name: string;
}

/** nginx with HTTP/2 without TLS: it answers several times faster than any data plane asks. */
export async function startGrpcApp(dir: string, processes: Processes): Promise<GrpcApp> {
  const [port = 0] = await freePorts(1);
  const file = path.join(dir, "grpc-app.nginx.conf");
  const server = `keepalive_timeout 600s;
  http2_max_concurrent_streams 1000;
  server {
    listen 127.0.0.1:${port} http2;
    location / {
      default_type application/grpc;
      add_trailer grpc-status 0;
      return 200 "${"m".repeat(replyBytes)}";
    }
  }`;
  await writeFile(file, nginxConfig(dir, "grpc-app", server));
  const started = processes.start("nginx", requireProgram("nginx"), ["-c", file, "-e", "stderr"]);
  await untilAnswering(port, [started]);
  return { port, name: `${started.name}, head + ${replyBytes} bytes + trailers` };
}

/** Waits until a call through the port gives message and trailers. */
export function untilAnswering(port: number, processes: readonly Started[]): Promise<void> {
  return untilReady(processes, readyTimeoutMs, async () => {
    const { status, bytes, grpcStatus } = await callOnce(port);
    if (status === 200 && bytes === replyBytes && grpcStatus === "0") return;
    throw new Error(
      `expected 200, ${replyBytes} bytes and grpc-status 0, got ${status}, ${bytes} and ${grpcStatus}`,
    );
  });
}

interface Call {
  readonly status: number;
  readonly bytes: number;
  readonly grpcStatus: string | undefined;
}

function callOnce(port: number): Promise<Call> {
  return new Promise((resolve, reject) => {
    const session = http2.connect(`http://127.0.0.1:${port}`);
    const fail = (error: Error): void => {
      session.destroy();
      reject(error);
    };
    session.once("error", fail);
    session.setTimeout(callTimeoutMs, () => fail(new Error("no answer within two seconds")));
    const stream = session.request({
      ":method": "POST",
      ":path": "/bench.Echo/Say",
      "content-type": "application/grpc",
      te: "trailers",
    });
    let status = 0;
    let bytes = 0;
    let grpcStatus: string | undefined;
    const readStatus = (headers: http2.IncomingHttpHeaders): void => {
      grpcStatus ??= headers["grpc-status"] as string | undefined;
    };
    stream.once("response", (headers) => {
      status = headers[":status"] ?? 0;
      readStatus(headers);
    });
    stream.on("data", (chunk: Buffer) => (bytes += chunk.length));
    stream.once("trailers", readStatus);
    stream.once("error", fail);
    stream.once("close", () => {
      session.close();
      resolve({ status, bytes, grpcStatus });
    });
    stream.end(Buffer.from([0, 0, 0, 0, 0]));
  });
}
