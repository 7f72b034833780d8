import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { ConfigError } from "../errors/config-error.js";
import type { MetricsRegistry } from "../telemetry/registry.js";
import type { Clock } from "../time/clock.js";
import type { AdminView } from "./admin-view.js";
import { refusal } from "./local-caller.js";
import type { Mutation } from "./mutation.js";
import { mutations } from "./mutations.js";
import { pages, textPage, type Page } from "./pages.js";

export interface AdminServerOptions {
  readonly view: AdminView;
  readonly metrics: MetricsRegistry;
  readonly clock: Clock;
  /** On 127.0.0.1; 0 = any free port. */
  readonly port: number;
  /** Something was changed, or would have been: by which request, and how it was answered. */
  readonly onMutation: (request: string, status: number) => void;
}

export interface AdminServer {
  readonly port: number;
  /** Ends at once, open connections included. */
  close(): Promise<void>;
}

const metricPaths: ReadonlySet<string> = new Set(["/stats/prometheus", "/metrics"]);
/** Of a request, in the log. */
const maxToldLength = 500;
/** No request of the admin API has a use for a body. */
const maxBodyBytes = 64 * 1024;

/**
 * The sidecar's admin API, on loopback only. Throws ConfigError when the port is taken or not permitted.
 */
export async function startAdminServer(options: AdminServerOptions): Promise<AdminServer> {
  const server = createServer(
    {
      maxHeaderSize: 16 * 1024,
      headersTimeout: 5000,
      requestTimeout: 10_000,
      keepAliveTimeout: 5000,
      connectionsCheckingInterval: 1000,
    },
    (request, response) => answer(request, response, options, portOf(server)),
  );
  server.maxConnections = 64;
  server.setTimeout(30_000); // a scraper that does not read
  await listen(server, options.port);
  return {
    port: portOf(server),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function portOf(server: Server): number {
  return (server.address() as AddressInfo | null)?.port ?? 0;
}

function listen(server: Server, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", (error: NodeJS.ErrnoException) => {
      const cause =
        error.code === "EADDRINUSE"
          ? `port ${port} on 127.0.0.1 is already in use`
          : `cannot listen on 127.0.0.1:${port} (${error.message})`;
      reject(
        new ConfigError(`${cause}: choose another port, or 0 for any free one`, {
          place: "--admin",
          cause: error,
        }),
      );
    });
    server.listen({ host: "127.0.0.1", port }, () => {
      server.removeAllListeners("error");
      // Accept errors (out of descriptors) must not end the process; the next accept may succeed.
      server.on("error", () => undefined);
      resolve();
    });
  });
}

function answer(
  request: IncomingMessage,
  response: ServerResponse,
  { view, metrics, clock, onMutation }: AdminServerOptions,
  port: number,
): void {
  request.on("error", () => undefined);
  response.on("error", () => undefined);
  let bodyBytes = 0;
  request.on("data", (chunk: Buffer) => {
    bodyBytes += chunk.length;
    if (bodyBytes > maxBodyBytes) request.destroy();
  });
  const refused = refusal(request.headers.host, request.headers.origin, port);
  if (refused !== undefined) return send(request, response, textPage(refused, 403));
  const [path, query] = splitUrl(request.url ?? "/");
  const isRead = request.method === "GET" || request.method === "HEAD";
  try {
    if (isRead && metricPaths.has(path)) return sendMetrics(request, response, metrics);
    // GET /logging?level= would be a change.
    const page = isRead && !(path === "/logging" && query.has("level")) ? pages.get(path) : undefined;
    if (page !== undefined) return sendPage(request, response, page(view, query, clock.wallMs()));
    const mutation = request.method === "POST" ? mutations.get(path) : undefined;
    if (mutation !== undefined) {
      return sendMutation(request, response, mutation(view, query), onMutation);
    }
    send(request, response, notServed(path, response));
  } catch {
    // A view that fails is a defect of one page, not of the sidecar.
    send(request, response, brokenPage());
  }
}

const brokenPage = (): Page => textPage("internal error: this page cannot be shown", 500);

function sendPage(request: IncomingMessage, response: ServerResponse, page: Page | Promise<Page>): void {
  if (!(page instanceof Promise)) return send(request, response, page);
  page.then(
    (ready) => send(request, response, ready),
    () => send(request, response, brokenPage()),
  );
}

function sendMutation(
  request: IncomingMessage,
  response: ServerResponse,
  mutation: Mutation | Promise<Mutation>,
  onMutation: AdminServerOptions["onMutation"],
): void {
  if (mutation instanceof Promise)
    return void mutation.then(
      (done) => sendMutation(request, response, done, onMutation),
      () => send(request, response, brokenPage()),
    );
  onMutation(`${request.method} ${request.url?.slice(0, maxToldLength)}`, mutation.page.status);
  if (mutation.after !== undefined) response.once("close", mutation.after);
  send(request, response, mutation.page);
}

function notServed(path: string, response: ServerResponse): Page {
  const isReadable = pages.has(path) || metricPaths.has(path);
  const isMutation = mutations.has(path);
  if (isReadable || isMutation) {
    const allowed = [...(isReadable ? ["GET", "HEAD"] : []), ...(isMutation ? ["POST"] : [])];
    response.setHeader("allow", allowed.join(", "));
    const hint = isMutation ? `${path} changes something: send POST` : `${path} is for reading: send GET`;
    return textPage(hint, 405);
  }
  const reads = [...pages.keys(), ...metricPaths].map((one) => `GET  ${one}`);
  const changes = [...mutations.keys()].map((one) => `POST ${one}`);
  const status = path === "/" ? 200 : 404;
  return textPage(["paths of this admin API:", ...reads, ...changes].join("\n"), status);
}

function splitUrl(url: string): readonly [path: string, query: URLSearchParams] {
  const at = url.indexOf("?");
  return at === -1
    ? [url, new URLSearchParams()]
    : [url.slice(0, at), new URLSearchParams(url.slice(at + 1))];
}

function sendMetrics(request: IncomingMessage, response: ServerResponse, metrics: MetricsRegistry): void {
  metrics.text().then(
    (text) => send(request, response, { status: 200, type: "text", body: text }, metrics.contentType),
    () => send(request, response, textPage("internal error: metrics cannot be read", 500)),
  );
}

function send(request: IncomingMessage, response: ServerResponse, page: Page, contentType?: string): void {
  if (response.headersSent) return;
  const body = Buffer.from(page.body);
  const type = page.type === "json" ? "application/json" : "text/plain; charset=utf-8";
  response.writeHead(page.status, {
    "content-type": contentType ?? type,
    "content-length": body.length,
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
  });
  response.end(request.method === "HEAD" ? undefined : body);
}
