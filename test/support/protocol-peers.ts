/** Applications and clients of HTTP/1.1 (node:http) and HTTP/2 (node:http2), each with one face for both. */
import { createHash } from "node:crypto";
import http, { type IncomingMessage, type ServerResponse } from "node:http";
import http2, {
  type ClientHttp2Session,
  type Http2ServerRequest,
  type Http2ServerResponse,
  type IncomingHttpHeaders,
} from "node:http2";
import type { AddressInfo, Socket } from "node:net";
import type { Duplex } from "node:stream";
import type { Test } from "tap";
import { WebSocketServer, WebSocket } from "ws";
import { Condition } from "./raw-client.js";

export type Protocol = "http1" | "http2";

/** Without the pseudo fields of HTTP/2. */
const ordinary = (headers: IncomingHttpHeaders): Record<string, string> =>
  Object.fromEntries(
    Object.entries(headers)
      .filter(([name]) => !name.startsWith(":"))
      .map(([name, value]) => [name, String(value)]),
  );

export const sha256 = (bytes: Buffer): string => createHash("sha256").update(bytes).digest("hex");

/** What an application noted of one request. */
export interface Seen {
  readonly method: string;
  readonly path: string;
  readonly authority: string;
  readonly rawHeaders: readonly string[];
  readonly headers: Record<string, string>;
  bytes: number;
  sha256: string;
  trailers: Record<string, string>;
  /** The whole request came. */
  isComplete: boolean;
  /** Its connection or stream is over. */
  isClosed: boolean;
}

type Request = IncomingMessage | Http2ServerRequest;
type Response = ServerResponse | Http2ServerResponse;

/** Answers by the path: see `answer` below. */
export class ProtocolApp {
  readonly seen: Seen[] = [];
  readonly #condition = new Condition();
  port = 0;

  static async open(t: Test, protocol: Protocol): Promise<ProtocolApp> {
    const app = new ProtocolApp();
    const onRequest = (request: Request, response: Response): void => app.#take(request, response);
    const server =
      protocol === "http1"
        ? http.createServer(onRequest)
        : http2.createServer({ settings: { enableConnectProtocol: true } }, onRequest);
    const sockets = new Set<Socket>();
    server.on("connection", (socket: Socket) => {
      sockets.add(socket);
      socket.on("close", () => sockets.delete(socket));
    });
    if (protocol === "http1") {
      const webSockets = new WebSocketServer({ server: server as http.Server });
      webSockets.on("connection", echo);
    } else {
      server.on("connect", (request: Http2ServerRequest, response: Http2ServerResponse) => {
        response.stream.respond({ ":status": request.headers[":path"] === "/refused" ? 403 : 200 });
        if (request.headers[":path"] === "/refused") response.stream.end();
        else echo(webSocketOver(response.stream as unknown as Duplex, true));
      });
    }
    await new Promise<void>((resolve) => void server.listen(0, "127.0.0.1", resolve));
    app.port = (server.address() as AddressInfo).port;
    t.teardown(() => {
      server.close();
      for (const socket of sockets) socket.destroy();
    });
    return app;
  }

  wait(what: string, isTrue: () => boolean): Promise<void> {
    return this.#condition.wait(what, isTrue);
  }

  #take(request: Request, response: Response): void {
    const url = new URL(request.url ?? "/", "http://app");
    const seen: Seen = {
      method: request.method ?? "",
      path: url.pathname,
      authority: String(request.headers[":authority"] ?? request.headers.host),
      rawHeaders: request.rawHeaders,
      headers: ordinary(request.headers),
      bytes: 0,
      sha256: "",
      trailers: {},
      isComplete: false,
      isClosed: false,
    };
    this.seen.push(seen);
    const hash = createHash("sha256");
    const chunks: Buffer[] = [];
    request.on("error", () => {});
    response.on("error", () => {});
    request.on("data", (chunk: Buffer) => {
      seen.bytes += chunk.length;
      hash.update(chunk);
      if (url.pathname === "/echo") chunks.push(chunk);
      this.#condition.changed();
    });
    request.on("end", () => {
      seen.sha256 = hash.digest("hex");
      seen.trailers = ordinary(request.trailers);
      seen.isComplete = true;
      this.#condition.changed();
      if (url.pathname === "/echo") reply(response, Buffer.concat(chunks), url.searchParams);
    });
    response.on("close", () => {
      seen.isClosed = true;
      this.#condition.changed();
    });
    answer(url, response);
    this.#condition.changed();
  }
}

/** What is answered before the request has ended. */
function answer(url: URL, response: Response): void {
  const plain = response as ServerResponse;
  switch (url.pathname) {
    case "/status":
      plain.writeHead(Number(url.searchParams.get("code")), { "X-Case": "Kept", etag: '"1"' });
      return void plain.end();
    case "/large":
      plain.writeHead(200, { "content-length": 1000 });
      return void plain.end(Buffer.alloc(1000, "x"));
    case "/hints":
      plain.writeEarlyHints({ link: "</a.css>; rel=preload" });
      // A turn of its own: together with the head it would not be seen to come first.
      return void setTimeout(() => plain.writeHead(200).end("after the hints"), 10);
    case "/early":
      plain.writeHead(413, { "content-length": 8 });
      return void plain.end("too much");
    case "/half":
      plain.writeHead(200, url.searchParams.has("declared") ? { "content-length": 100 } : {});
      return void plain.write("half");
    case "/broken":
      plain.writeHead(200, url.searchParams.has("declared") ? { "content-length": 100 } : {});
      plain.write("half");
      return void setTimeout(() => breakOff(response), 20);
    case "/reset":
      return breakOff(response);
  }
}

function breakOff(response: Response): void {
  if ("stream" in response) response.stream.close(http2.constants.NGHTTP2_INTERNAL_ERROR);
  else response.socket?.destroy();
}

function reply(response: Response, body: Buffer, how: URLSearchParams): void {
  const plain = response as ServerResponse;
  const headers: Record<string, string> = { "x-sha256": sha256(body) };
  if (how.has("declared")) headers["content-length"] = String(body.length);
  if (how.has("trailers")) headers["trailer"] = "x-sum";
  plain.writeHead(200, headers);
  if (how.has("trailers")) plain.addTrailers({ "x-sum": sha256(body).slice(0, 8) });
  plain.end(body);
}

function echo(socket: WebSocket): void {
  socket.on("error", () => {});
  socket.on("message", (data, isBinary) => socket.send(data as Buffer, { binary: isBinary }));
}

/** A WebSocket on a stream that was opened for it already (RFC 8441). */
export function webSocketOver(stream: Duplex, isServer: boolean): WebSocket {
  interface Inner {
    _isServer: boolean;
    setSocket(stream: Duplex, head: Buffer, options: object): void;
  }
  const socket = new WebSocket(
    null as unknown as string,
    undefined as unknown as string[],
    {
      autoPong: true,
      closeTimeout: 10_000,
    } as object,
  );
  const inner = socket as unknown as Inner;
  inner._isServer = isServer;
  inner.setSocket(stream, Buffer.alloc(0), { maxPayload: 0, skipUTF8Validation: false });
  return socket;
}

export interface RequestSpec {
  readonly method?: string;
  readonly path: string;
  readonly headers?: Record<string, string>;
  readonly trailers?: Record<string, string>;
  /** Sent with the request, which ends with it. undefined: none; null: the caller writes and ends. */
  readonly body?: Buffer | null;
}

/** One request and what came back, so far. */
export class Exchange {
  status = 0;
  headers: Record<string, string> = {};
  rawHeaders: readonly string[] = [];
  readonly interim: number[] = [];
  trailers: Record<string, string> = {};
  /** `complete`, or why it is not. */
  outcome = "";
  readonly #chunks: Buffer[] = [];
  readonly #condition = new Condition();
  write: (chunk: Buffer) => boolean = () => false;
  end: () => void = () => {};
  cancel: () => void = () => {};

  get body(): Buffer {
    return Buffer.concat(this.#chunks);
  }

  add(chunk: Buffer): void {
    this.#chunks.push(chunk);
    this.#condition.changed();
  }

  informed(status: number): void {
    this.interim.push(status);
    this.#condition.changed();
  }

  changed(): void {
    this.#condition.changed();
  }

  over(outcome: string): void {
    this.outcome ||= outcome;
    this.#condition.changed();
  }

  wait(what: string, isTrue: () => boolean): Promise<void> {
    return this.#condition.wait(what, isTrue);
  }

  /** When the response is complete, or will not be. */
  async done(): Promise<this> {
    await this.wait("end of the exchange", () => this.outcome !== "");
    return this;
  }
}

/** Requests to one port; kept-alive or multiplexed. */
export interface ProtocolClient {
  send(spec: RequestSpec): Exchange;
  webSocket(path: string): Promise<WebSocket>;
}

export async function openClient(t: Test, protocol: Protocol, port: number): Promise<ProtocolClient> {
  return protocol === "http1" ? http1Client(t, port) : http2Client(t, port);
}

function http1Client(t: Test, port: number): ProtocolClient {
  const agent = new http.Agent({ keepAlive: true });
  t.teardown(() => agent.destroy());
  return {
    send({ method = "GET", path, headers = {}, trailers, body }) {
      const exchange = new Exchange();
      const framing = trailers === undefined ? {} : { Trailer: Object.keys(trailers).join() };
      const request = http.request({
        ...{ host: "127.0.0.1", port, agent, method, path },
        headers: { Host: "app.test", ...framing, ...headers },
      });
      request.on("information", ({ statusCode }) => exchange.informed(statusCode));
      request.on("error", (error: NodeJS.ErrnoException) => exchange.over(error.code ?? error.message));
      request.on("response", (response) => {
        exchange.status = response.statusCode ?? 0;
        exchange.headers = ordinary(response.headers);
        exchange.rawHeaders = response.rawHeaders;
        response.on("data", (chunk: Buffer) => exchange.add(chunk));
        response.on("error", (error: NodeJS.ErrnoException) => exchange.over(error.code ?? error.message));
        response.on("end", () => {
          exchange.trailers = ordinary(response.trailers);
          exchange.over("complete");
        });
        exchange.changed();
      });
      if (trailers !== undefined) request.addTrailers(trailers);
      exchange.write = (chunk) => request.write(chunk);
      exchange.end = () => void request.end();
      exchange.cancel = () => void request.destroy();
      if (body === undefined) request.end();
      else if (body === null) request.flushHeaders();
      else if (trailers === undefined) request.end(body);
      else {
        request.write(body);
        request.end();
      }
      return exchange;
    },
    async webSocket(path) {
      const socket = new WebSocket(`ws://127.0.0.1:${port}${path}`, { perMessageDeflate: false });
      t.teardown(() => socket.terminate());
      await new Promise((resolve, reject) => socket.once("open", resolve).once("error", reject));
      return socket;
    },
  };
}

async function http2Client(t: Test, port: number): Promise<ProtocolClient> {
  const session: ClientHttp2Session = http2.connect(`http://127.0.0.1:${port}`);
  session.on("error", () => {});
  t.teardown(() => session.destroy());
  await new Promise((resolve) => session.once("remoteSettings", resolve));
  return {
    send({ method = "GET", path, headers = {}, trailers, body }) {
      const exchange = new Exchange();
      const stream = session.request(
        { ":method": method, ":path": path, ":authority": "app.test", ...headers },
        { endStream: body === undefined, waitForTrailers: trailers !== undefined },
      );
      if (trailers !== undefined) stream.on("wantTrailers", () => stream.sendTrailers(trailers));
      stream.on("headers", (fields) => exchange.informed(Number(fields[":status"])));
      stream.on("response", (fields) => {
        exchange.status = Number(fields[":status"]);
        exchange.headers = ordinary(fields);
        exchange.changed();
      });
      stream.on("data", (chunk: Buffer) => exchange.add(chunk));
      stream.on("trailers", (fields) => (exchange.trailers = ordinary(fields)));
      stream.on("error", (error: NodeJS.ErrnoException) => exchange.over(error.code ?? error.message));
      stream.on("aborted", () => exchange.over("aborted"));
      stream.on("end", () => exchange.over(stream.rstCode === 0 ? "complete" : `reset ${stream.rstCode}`));
      stream.on("close", () => exchange.over(`closed with ${stream.rstCode}`));
      exchange.write = (chunk) => stream.write(chunk);
      exchange.end = () => void stream.end();
      exchange.cancel = () => stream.close(http2.constants.NGHTTP2_CANCEL);
      if (body !== undefined && body !== null) stream.end(body);
      return exchange;
    },
    async webSocket(path) {
      const stream = session.request(
        {
          ":method": "CONNECT",
          ":protocol": "websocket",
          ":scheme": "http",
          ":path": path,
          ":authority": "app.test",
          "sec-websocket-version": "13",
        },
        { endStream: false },
      );
      const status = await new Promise<number>((resolve, reject) => {
        stream.once("response", (fields) => resolve(Number(fields[":status"])));
        stream.once("error", reject);
      });
      if (status !== 200) throw new Error(`Unexpected server response: ${status}`);
      const socket = webSocketOver(stream, false);
      t.teardown(() => socket.terminate());
      return socket;
    },
  };
}
