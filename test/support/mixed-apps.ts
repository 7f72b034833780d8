/**
 * Two applications that answer every request with proof of what they got: one over HTTP/1.1 with WebSockets, one over HTTP/2 with
 * gRPC. A request carries `x-nonce`; its wishes are in the query:
 *
 *     size=n       bytes of the response, made of the nonce; chunked=1: without a content-length
 *     trailers=1   the response ends with x-end: nonce
 *     early=1      413 before the body was read
 *     fault=reset  the connection or stream is reset in the middle of the response; fault=close: before it
 */
import { createHash } from "node:crypto";
import http, { type IncomingMessage } from "node:http";
import http2, { type Http2ServerRequest } from "node:http2";
import type { Socket } from "node:net";
import { WebSocketServer } from "ws";

type AnyRequest = IncomingMessage | Http2ServerRequest;
/** What node's two kinds of responses have in common, as far as it is used here. */
interface AnyResponse {
  writeHead(status: number, headers: http.OutgoingHttpHeaders): { end(body: string): unknown };
  addTrailers(trailers: http.OutgoingHttpHeaders): void;
  write(part: Buffer): boolean;
  end(body: Buffer): unknown;
  on(event: "error", listener: () => void): unknown;
}

/** What a response to `nonce` of this size consists of: no other request has the same. */
export function bodyOf(nonce: string, size: number): Buffer {
  return Buffer.alloc(size, `${nonce} `);
}

export function digestOf(bytes: Buffer): string {
  return createHash("sha1").update(bytes).digest("hex");
}

export interface MixedApp {
  /** Key: nonce; value: how many times it was executed, that is read to its end and answered. */
  readonly executed: Map<string, number>;
  /** Defects that only the application sees. */
  readonly problems: string[];
  /** At one more port: what another instance of the service has for its application. */
  listen(port: number): Promise<void>;
  close(): void;
}

abstract class App implements MixedApp {
  readonly executed = new Map<string, number>();
  readonly problems: string[] = [];
  readonly sockets = new Set<Socket>();

  abstract listen(port: number): Promise<void>;
  abstract close(): void;

  protected track(socket: Socket): void {
    this.sockets.add(socket);
    socket.on("error", () => undefined); // callers go away as they like
    socket.on("close", () => this.sockets.delete(socket));
  }

  count(nonce: string): void {
    this.executed.set(nonce, (this.executed.get(nonce) ?? 0) + 1);
  }

  protected take(request: AnyRequest, response: AnyResponse): void {
    request.on("error", () => undefined); // cancelled
    response.on("error", () => undefined);
    this.#answer(request, response).catch((error: unknown) => {
      this.problems.push(String(error));
    });
  }

  async #answer(request: AnyRequest, response: AnyResponse): Promise<void> {
    const nonce = String(request.headers["x-nonce"]);
    const wishes = new URL(request.url ?? "/", "http://app").searchParams;
    if (wishes.get("early") === "1") {
      response.writeHead(413, { "x-nonce": nonce, "content-length": 5 }).end("early");
      return;
    }
    const parts: Buffer[] = [];
    try {
      for await (const part of request as AsyncIterable<Buffer>) parts.push(part);
    } catch {
      return; // cancelled before it was whole
    }
    const received = Buffer.concat(parts);
    const fault = wishes.get("fault");
    if (fault === "close") return cutOff(request);
    this.count(nonce);
    if (String(request.headers["content-type"]).startsWith("application/grpc")) {
      response.writeHead(200, { "content-type": "application/grpc", "x-nonce": nonce });
      response.addTrailers({ "grpc-status": "0", "x-digest": digestOf(received) });
      response.end(received);
      return;
    }
    const body = bodyOf(nonce, Number(wishes.get("size") ?? 0));
    const trailers = wishes.get("trailers") === "1" && request.method !== "HEAD";
    const sum = request.trailers["x-sum"];
    response.writeHead(200, {
      ...{ "x-nonce": nonce, "x-digest": digestOf(received), "x-method": request.method ?? "" },
      ...(sum === undefined ? {} : { "x-sum": sum }),
      ...(trailers
        ? { trailer: "x-end" }
        : wishes.get("chunked") === "1"
          ? {}
          : { "content-length": body.length }),
    });
    if (fault === "reset") {
      response.write(body.subarray(0, body.length >> 1));
      setImmediate(() => cutOff(request));
      return;
    }
    if (trailers) {
      // Node writes trailers of chunked HTTP/1.1 bodies only.
      response.write(body.subarray(0, 10));
      response.addTrailers({ "x-end": nonce });
      response.end(body.subarray(10));
    } else response.end(request.method === "HEAD" ? Buffer.alloc(0) : body);
  }
}

/** Resets what the response would go by: the connection of HTTP/1.1, the stream of HTTP/2. */
function cutOff(request: AnyRequest): void {
  if ("stream" in request) request.stream.close(http2.constants.NGHTTP2_INTERNAL_ERROR);
  else request.socket.resetAndDestroy();
}

class Http1App extends App {
  readonly #servers: http.Server[] = [];
  readonly #webSockets = new WebSocketServer({ noServer: true });

  listen(port: number): Promise<void> {
    const server = http.createServer({ keepAliveTimeout: 60_000 }, (request, response) =>
      this.take(request, response as AnyResponse),
    );
    this.#servers.push(server);
    server.on("connection", (socket) => this.track(socket));
    server.on("upgrade", (request, socket, head) => {
      this.#webSockets.handleUpgrade(request, socket, head, (webSocket) => {
        const nonce = String(request.headers["x-nonce"]);
        this.count(nonce);
        webSocket.on("error", () => undefined); // the client's side tells it better
        webSocket.on("message", (data: Buffer, isBinary) =>
          webSocket.send(Buffer.concat([Buffer.from(`${nonce}:`), data]), { binary: isBinary }),
        );
      });
    });
    return new Promise((resolve) => void server.listen(port, "127.0.0.1", resolve));
  }

  close(): void {
    for (const server of this.#servers) server.close();
    for (const socket of this.sockets) socket.destroy();
  }
}

class Http2App extends App {
  readonly #server = http2.createServer((request, response) => this.take(request, response as AnyResponse));

  listen(port: number): Promise<void> {
    this.#server.on("connection", (socket: Socket) => this.track(socket));
    this.#server.on("sessionError", () => undefined); // told to the client
    return new Promise((resolve) => void this.#server.listen(port, "127.0.0.1", resolve));
  }

  close(): void {
    this.#server.close();
    for (const socket of this.sockets) socket.destroy();
  }
}

export async function startHttp1App(port: number): Promise<MixedApp> {
  const app = new Http1App();
  await app.listen(port);
  return app;
}

/** Without TLS, by prior knowledge. */
export async function startHttp2App(port: number): Promise<MixedApp> {
  const app = new Http2App();
  await app.listen(port);
  return app;
}
