/**
 * GET against Consul's HTTP API with what a long poll needs and the `consul` package's transport lacks: an end at once
 * when the agent dies in the middle of an answer, an AbortSignal, and a bound on the answer.
 */
import { readFileSync } from "node:fs";
import http from "node:http";
import https from "node:https";
import { ConfigError } from "../errors/config-error.js";
import type { Clock, Timer } from "../time/clock.js";

export interface ConsulHttpOptions {
  /** `http://host:port` or `https://host:port`, a path prefix allowed. */
  readonly url: string;
  readonly token?: string | undefined;
  /** PEM file of the CA that signed the agent's certificate. */
  readonly caFile?: string | undefined;
  readonly datacenter?: string | undefined;
  readonly clock: Clock;
}

export interface ConsulRead {
  /** Path below `/v1`, for example `/catalog/services`. */
  readonly path: string;
  /** Further parameters. */
  readonly query?: Readonly<Record<string, string>>;
  /** `stale`: any server may answer, also without a leader. `default`: the leader answers (Consul: Consistency Modes). */
  readonly consistency: "stale" | "default";
  /** Wait until the index is above this one; undefined = answer at once. */
  readonly block: { readonly index: number; readonly waitMs: number } | undefined;
  readonly signal: AbortSignal;
}

export interface ConsulAnswer {
  /** Decoded JSON, not yet checked. */
  readonly body: unknown;
  /** X-Consul-Index; 0 when absent or no number. */
  readonly index: number;
  /** X-Consul-Results-Filtered-By-ACLs (Consul >= 1.11): something was left out for want of permission. */
  readonly isFiltered: boolean;
}

export type ConsulGet = (read: ConsulRead) => Promise<ConsulAnswer>;

/** A read that failed. The message is one line that names the cause and, where there is one, the fix. */
export class ConsulReadError extends Error {
  override readonly name = "ConsulReadError";
  /** HTTP status, 0 when there was no complete answer. */
  readonly status: number;

  constructor(message: string, status: number, options?: ErrorOptions) {
    super(message, options);
    this.status = status;
  }
}

/** 5,000 services or 20,000 instances need about 16 MB. */
const maxBodyBytes = 32 * 1024 * 1024;
const maxErrorBytes = 2048;
const plainTimeoutMs = 10_000;
/** Connections for all reads that do not block: Consul allows 200 per client (limits.http_max_conns_per_client). */
export const plainConnections = 8;

export interface ConsulHttp {
  readonly get: ConsulGet;
  /** Closes idle connections; reads under way are ended by their signal. */
  close(): void;
}

/** @throws ConfigError when the URL or the CA file cannot be used. */
export function createConsulHttp(options: ConsulHttpOptions): ConsulHttp {
  const base = parseConsulUrl(options.url);
  const module = base.protocol === "https:" ? https : http;
  const tls = options.caFile === undefined ? {} : { ca: readCaFile(options.caFile) };
  const blocking = new module.Agent({ keepAlive: true, ...tls });
  const plain = new module.Agent({ keepAlive: true, maxSockets: plainConnections, ...tls });
  const headers = options.token === undefined ? {} : { "X-Consul-Token": options.token };

  const get: ConsulGet = async (read) => {
    const url = new URL(base);
    url.pathname = `${base.pathname.replace(/\/$/, "")}/v1${read.path}`;
    url.search = queryOf(read, options.datacenter);
    const agent = read.block === undefined ? plain : blocking;
    // Consul adds up to wait/16 to the wait (Blocking Queries); only beyond that has it gone silent.
    const timeoutMs =
      read.block === undefined ? plainTimeoutMs : (read.block.waitMs * 17) / 16 + plainTimeoutMs;
    const send = (): Promise<ConsulAnswer> =>
      exchange(
        module.request(url, { agent, headers, signal: read.signal }),
        timeoutMs,
        options.clock,
        url.origin,
      );
    try {
      return await send();
    } catch (error) {
      // An idle connection may have been closed by the agent just as it was taken: that says nothing about the agent.
      // A long poll is not sent again: whoever answers it now may count from another index.
      if (
        read.block === undefined &&
        error instanceof ConsulReadError &&
        error.cause instanceof StaleConnection
      )
        return send();
      throw error;
    }
  };
  return {
    get,
    close: () => {
      blocking.destroy();
      plain.destroy();
    },
  };
}

/** @throws ConfigError */
export function parseConsulUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !/^https?:$/.test(url.protocol) || url.username !== "" || url.search !== "")
    throw new ConfigError(`"${text}" is no Consul address: write it like http://127.0.0.1:8500`);
  return url;
}

function readCaFile(file: string): Buffer {
  try {
    return readFileSync(file);
  } catch (error) {
    throw new ConfigError(`cannot read Consul's CA file ${file}: check the path and its permissions`, {
      cause: error,
    });
  }
}

function queryOf(read: ConsulRead, datacenter: string | undefined): string {
  const query = new URLSearchParams(read.query);
  if (read.consistency === "stale") query.set("stale", "");
  if (datacenter !== undefined) query.set("dc", datacenter);
  if (read.block !== undefined) {
    query.set("index", String(read.block.index));
    query.set("wait", `${read.block.waitMs}ms`);
  }
  return query.toString();
}

/** One request and its whole answer. Every way it can end settles the promise exactly once. */
function exchange(
  request: http.ClientRequest,
  timeoutMs: number,
  clock: Clock,
  origin: string,
): Promise<ConsulAnswer> {
  return new Promise((resolve, reject) => {
    let timer: Timer | undefined;
    const fail = (error: ConsulReadError): void => {
      timer?.cancel();
      reject(error);
      request.destroy();
    };
    request.on("error", (error) => fail(unreachable(origin, error, request.reusedSocket)));
    request.on("socket", (socket) => {
      // From here, not from the call: a read may have queued for one of the few connections.
      timer?.cancel();
      timer = clock.timer(timeoutMs, () =>
        fail(new ConsulReadError(`consul at ${origin} did not answer within ${timeoutMs} ms`, 0)),
      );
      // A peer that vanished without a word is found by TCP within half a minute, not when the wait is over.
      socket.setKeepAlive(true, 15_000);
    });
    request.on("response", (response) => {
      const chunks: Buffer[] = [];
      let bytes = 0;
      response.on("data", (chunk: Buffer) => {
        bytes += chunk.length;
        chunks.push(chunk);
        if (bytes > maxBodyBytes)
          fail(new ConsulReadError(`consul at ${origin} answered more than ${maxBodyBytes} bytes`, 0));
      });
      // Emitted at once when the connection ends in the middle of the answer.
      response.on("error", (error) => fail(unreachable(origin, error, false)));
      response.on("end", () => {
        timer?.cancel();
        const text = Buffer.concat(chunks).toString("utf8");
        try {
          resolve(decode(response, text, origin));
        } catch (error) {
          fail(error as ConsulReadError);
        }
      });
    });
    request.end();
  });
}

function decode(response: http.IncomingMessage, text: string, origin: string): ConsulAnswer {
  const status = response.statusCode ?? 0;
  if (status !== 200) throw statusError(status, text, origin);
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch (error) {
    throw new ConsulReadError(
      `consul at ${origin} answered something that is not JSON: is that the agent's HTTP port?`,
      status,
      {
        cause: error,
      },
    );
  }
  const header = response.headers["x-consul-index"];
  const index = typeof header === "string" && /^\d{1,15}$/.test(header) ? Number(header) : 0;
  return { body, index, isFiltered: response.headers["x-consul-results-filtered-by-acls"] === "true" };
}

function statusError(status: number, text: string, origin: string): ConsulReadError {
  const said = JSON.stringify(text.slice(0, maxErrorBytes).trim().slice(0, 200));
  const fix =
    status === 403
      ? "the token needs service:read and node:read"
      : status === 429
        ? "it limits requests: raise limits.http_max_conns_per_client or its rate limits"
        : status === 500 && text.includes("No path to datacenter")
          ? "is its name spelt right, and is it joined? `consul members -wan` on a server lists them"
          : status === 500
            ? "see the agent's log, and whether the servers have a leader"
            : "is this Consul's HTTP address?";
  return new ConsulReadError(`consul at ${origin} answered ${status} ${said}: ${fix}`, status);
}

/** A kept connection that turned out to be closed before anything of an answer came. */
class StaleConnection extends Error {}

function unreachable(origin: string, error: Error, isReused: boolean): ConsulReadError {
  const code = "code" in error ? String(error.code) : error.message;
  const cause = isReused && code === "ECONNRESET" ? new StaleConnection(code, { cause: error }) : error;
  return new ConsulReadError(
    `cannot read from consul at ${origin} (${code}): is the agent running there?`,
    0,
    {
      cause,
    },
  );
}
