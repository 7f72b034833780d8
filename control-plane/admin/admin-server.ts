import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { HostPort } from "../../src/discovery/host-port.js";
import { ConfigError } from "../../src/errors/config-error.js";
import { messageOf } from "../../src/errors/message-of.js";
import { formatAddress, listenError } from "../listen-address.js";
import { DocumentError } from "../policy-store/document-error.js";
import type { Clock } from "../../src/time/clock.js";
import type { AdminTokens } from "./admin-tokens.js";
import type { AuditLog } from "./audit-log.js";
import { bearerOf, guard } from "./guard.js";
import { mayDo, type AdminCaller, type Role } from "./roles.js";

/** One request, its path taken apart and its body read. */
export interface AdminRequest {
  /** By the names in the route's path. */
  readonly parameters: Readonly<Record<string, string>>;
  readonly query: URLSearchParams;
  /** Of `x-file-name`: what errors in the body are called. */
  readonly fileName: string;
  readonly body: string;
}

export interface AdminReply {
  readonly status: number;
  /** Sent as JSON, or as it is when `contentType` is set. */
  readonly body: unknown;
  readonly contentType?: string;
  /** What was changed, for the audit log; never a secret. Absent: the path says it. */
  readonly audit?: unknown;
}

export interface AdminRoute {
  readonly method: "GET" | "POST" | "DELETE";
  /** Segments; `:name` takes one, `:name?` also none (only at the end). */
  readonly path: string;
  /** Served without a token: it must show nothing that only operators may see. */
  readonly isOpen?: true;
  /** What a token must be allowed to do; a route that does not say is for admin. */
  readonly role?: Role;
  /** A question with a body: nothing of it belongs into the audit log. */
  readonly changesNothing?: true;
  readonly handle: (request: AdminRequest) => AdminReply | Promise<AdminReply>;
}

/** Every answer to a request that could not be served. */
export interface AdminError {
  readonly error: string;
  readonly fix: string;
}

const maxBodyBytes = 1024 * 1024;
const maxConnections = 256;

export interface AdminServerOptions {
  readonly tokens: Pick<AdminTokens, "identify">;
  readonly routes: readonly AdminRoute[];
  readonly audit: Pick<AuditLog, "ready" | "record">;
  readonly clock: Clock;
  readonly onError: (error: unknown) => void;
}

/** The admin API: routes in, HTTP out. It never shows more than what a route returned. */
export class AdminServer {
  readonly #server: Server;
  readonly #options: AdminServerOptions;

  constructor(options: AdminServerOptions) {
    this.#options = options;
    this.#server = createServer(
      { headersTimeout: 10_000, requestTimeout: 30_000, maxHeaderSize: 16_384 },
      (request, response) => void this.#serve(request, response),
    );
    this.#server.maxConnections = maxConnections;
  }

  /** Opens the port. @returns host:port as bound. @throws ConfigError when it cannot be. */
  start({ host, port, text }: HostPort): Promise<string> {
    return new Promise((resolve, reject) => {
      this.#server.once("error", (error) => reject(listenError(error, text, "--admin")));
      this.#server.listen(port, host, () => {
        this.#server.removeAllListeners("error");
        this.#server.on("error", this.#options.onError);
        resolve(formatAddress(this.#server.address() as AddressInfo));
      });
    });
  }

  async close(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    this.#server.closeAllConnections();
    await closed;
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    request.on("error", () => response.destroy());
    response.on("error", () => response.destroy());
    try {
      send(response, await this.#answer(request));
    } catch (error: unknown) {
      // The client has gone in the middle of its request: nobody is left to answer, and nothing failed here.
      if (request.errored !== null) return;
      send(response, this.#errorReply(error));
    }
  }

  async #answer(request: IncomingMessage): Promise<AdminReply> {
    const { tokens, routes } = this.#options;
    const url = urlOf(request.url ?? "/");
    const found = findRoute(routes, request.method ?? "", url.pathname);
    const { authorization } = request.headers;
    const refusal = guard(
      {
        host: request.headers.host,
        origin: request.headers.origin,
        fetchSite: single(request.headers["sec-fetch-site"]),
        authorization,
        localAddress: request.socket.localAddress ?? "",
      },
      found.route?.isOpen === true ? undefined : (text) => tokens.identify(text) !== undefined,
    );
    if (refusal !== undefined) return failed(refusal.status, refusal.error, refusal.fix);
    const { route } = found;
    if (route === undefined)
      return found.isKnownPath
        ? failed(405, `${request.method} is not possible here`, "see docs for the methods of the admin API")
        : failed(
            404,
            `no such path: ${url.pathname.slice(0, 200)}`,
            "compare the versions of command and control plane",
          );
    const handle = async (): Promise<AdminReply> => {
      const body = await readBody(request);
      if (body === undefined) return failed(413, "the body is over 1 MiB", "split the file");
      const fileName = single(request.headers["x-file-name"])?.slice(0, 200) ?? "-";
      return route.handle({ parameters: found.parameters, query: url.searchParams, fileName, body });
    };
    const caller = tokens.identify(bearerOf(authorization) ?? "");
    if (route.isOpen === true || caller === undefined) return handle();
    const may = mayDo(caller.role, route.role ?? "admin") ? handle : () => forbidden(caller, route);
    if (route.method === "GET" || route.changesNothing === true) return may();
    return this.#audited(caller, request, may);
  }

  /** A change: made only when it can be recorded, and recorded whatever came of it. */
  async #audited(
    caller: AdminCaller,
    request: IncomingMessage,
    change: () => AdminReply | Promise<AdminReply>,
  ): Promise<AdminReply> {
    const { audit, clock, onError } = this.#options;
    try {
      await audit.ready();
    } catch (error: unknown) {
      onError(error);
      return failed(503, messageOf(error), "");
    }
    let reply: AdminReply;
    try {
      reply = await change();
    } catch (error: unknown) {
      if (request.errored !== null) throw error;
      reply = this.#errorReply(error);
    }
    const { error = "failed" } = (reply.status >= 400 ? reply.body : {}) as Partial<AdminError>;
    try {
      await audit.record({
        at: new Date(clock.wallMs()).toISOString(),
        who: caller.name,
        role: caller.role,
        from: request.socket.remoteAddress ?? "",
        request: `${request.method} ${request.url?.slice(0, 500)}`,
        status: reply.status,
        what: reply.audit ?? (reply.status >= 400 ? error.slice(0, 500) : null),
      });
      return reply;
    } catch (cause: unknown) {
      onError(cause);
      if (reply.status >= 400) return reply;
      const { message } = cause as Error;
      return failed(500, `the change was made, but it could not be recorded: ${message}`, "see remora audit");
    }
  }

  #errorReply(error: unknown): AdminReply {
    if (error instanceof DocumentError)
      return {
        status: 422,
        body: { error: error.message, fix: "correct the file", problems: error.problems },
      };
    if (error instanceof ConfigError) return failed(400, error.message, "");
    this.#options.onError(error);
    return failed(500, "the control plane failed", "look into its log");
  }
}

/** Never read as a reference, in which `//v1/status` is another host's. What is no path at all is no path of ours. */
function urlOf(target: string): URL {
  const text = `http://admin${target}`;
  return new URL(URL.canParse(text) ? text : "http://admin/");
}

function forbidden({ name, role }: AdminCaller, route: AdminRoute): AdminReply {
  const needed = route.role ?? "admin";
  return failed(
    403,
    `token ${name} has role ${role}, and this needs role ${needed}`,
    `use a token of role ${needed}: remora admin-token create --role ${needed} --name NAME`,
  );
}

function failed(status: number, error: string, fix: string): AdminReply {
  return { status, body: { error, fix } satisfies AdminError };
}

function send(response: ServerResponse, reply: AdminReply): void {
  if (response.destroyed || response.headersSent) return;
  const isText = reply.contentType !== undefined;
  const text = isText ? String(reply.body) : `${JSON.stringify(reply.body)}\n`;
  response.writeHead(reply.status, {
    "content-type": reply.contentType ?? "application/json",
    "content-length": Buffer.byteLength(text),
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    ...(reply.status === 401 ? { "www-authenticate": "Bearer" } : {}),
    // A body that was not read must not be taken for the next request.
    ...(reply.status >= 400 ? { connection: "close" } : {}),
  });
  response.end(text);
}

/** undefined when it is over the limit; the rest is then not read. */
function readBody(request: IncomingMessage): Promise<string | undefined> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let size = 0;
    request.on("data", (chunk: Buffer) => {
      size += chunk.length;
      if (size > maxBodyBytes) {
        request.pause();
        return resolve(undefined);
      }
      chunks.push(chunk);
    });
    request.on("end", () => resolve(Buffer.concat(chunks).toString("utf8")));
    request.on("error", reject);
  });
}

interface FoundRoute {
  readonly route: AdminRoute | undefined;
  readonly parameters: Readonly<Record<string, string>>;
  readonly isKnownPath: boolean;
}

/** Matches method and path. Exported for its table test. */
export function findRoute(routes: readonly AdminRoute[], method: string, pathname: string): FoundRoute {
  let isKnownPath = false;
  for (const route of routes) {
    const parameters = matchPath(route.path, pathname);
    if (parameters === undefined) continue;
    isKnownPath = true;
    if (route.method === method) return { route, parameters, isKnownPath };
  }
  return { route: undefined, parameters: {}, isKnownPath };
}

function matchPath(pattern: string, pathname: string): Readonly<Record<string, string>> | undefined {
  const wanted = pattern.split("/").slice(1);
  const given = pathname.split("/").slice(1);
  if (given.length > wanted.length) return undefined;
  const parameters: [string, string][] = [];
  for (const [at, part] of wanted.entries()) {
    const text = given[at];
    if (text === undefined || text === "") {
      if (!part.endsWith("?")) return undefined;
    } else if (!part.startsWith(":")) {
      if (part !== text) return undefined;
    } else {
      const value = decode(text);
      if (value === undefined) return undefined;
      parameters.push([part.slice(1).replace("?", ""), value]);
    }
  }
  return Object.fromEntries(parameters);
}

function decode(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}

function single(value: string | string[] | undefined): string | undefined {
  return Array.isArray(value) ? value[0] : value;
}
