import { readFileSync } from "node:fs";
import http from "node:http";
import https from "node:https";
import { ConfigError } from "../../src/errors/config-error.js";
import type { Clock } from "../../src/time/clock.js";
import { parseConsulUrl } from "../../src/consul/consul-http.js";
import type { ConsulSettings } from "../settings.js";

/** What Consul says about the bearer of an ACL token. */
export type ConsulVerdict =
  | {
      /** Tells the token apart in logs; no secret. */
      readonly accessor: string;
      /** Unix milliseconds. */
      readonly createdAtMs: number;
      readonly refused?: never;
    }
  | { readonly refused: string; readonly isConsulAway: boolean };

/** Asks Consul whether a token may be `service`: nobody's word counts but the token's own rights. */
export interface ConsulProof {
  check(token: string, service: string): Promise<ConsulVerdict>;
  close(): void;
}

/** An anonymous caller has rights too: they are everybody's, and prove nothing. */
const anonymousAccessor = "00000000-0000-0000-0000-000000000002";
/** Consul makes UUIDs; whoever chose the text of a token can have printed characters. */
const tokenPattern = /^[\x21-\x7e]{1,256}$/;
const timeoutMs = 5000;
const maxBodyBytes = 64 * 1024;
const maxConnections = 4;

/** @throws ConfigError when URL or CA file cannot be used. */
export function createConsulProof(consul: ConsulSettings, clock: Clock): ConsulProof {
  const base = parseConsulUrl(consul.url);
  const module = base.protocol === "https:" ? https : http;
  const tls = consul.caFile === undefined ? {} : { ca: readCaFile(consul.caFile) };
  const agent = new module.Agent({ keepAlive: true, maxSockets: maxConnections, ...tls });
  const ask = (method: string, path: string, token: string, body = ""): Promise<Answer> => {
    const url = new URL(base);
    url.pathname = `${base.pathname.replace(/\/$/, "")}/v1${path}`;
    const headers = { "x-consul-token": token, "content-length": Buffer.byteLength(body) };
    return exchange(module.request(url, { agent, method, headers }), body, clock);
  };
  return {
    async check(token, service) {
      if (!tokenPattern.test(token)) return refused("the Consul token is no ACL token");
      try {
        const self = await ask("GET", "/acl/token/self", token);
        if (self.status === 401) return refused("Consul has no ACLs: every token could be every service");
        const owner = self.status === 200 ? readOwner(self.body) : undefined;
        if (owner === undefined) return judge(self, "Consul does not know the ACL token");
        if (owner.accessor === anonymousAccessor) return refused("the anonymous ACL token proves nothing");
        // Needs service:write on the target and changes nothing: developer.hashicorp.com/consul/api-docs/agent/connect
        const question = { Target: service, ClientCertURI: "spiffe://probe/ns/default/dc/probe/svc/probe" };
        const right = await ask(
          "POST",
          "/agent/connect/authorize",
          token,
          JSON.stringify({ ...question, ClientCertSerial: "00" }),
        );
        if (right.status !== 200) return judge(right, `the ACL token may not write service ${service}`);
        return owner;
      } catch (error: unknown) {
        const why = (error as NodeJS.ErrnoException).code ?? String(error);
        return { refused: `Consul at ${base.origin} cannot be asked (${why})`, isConsulAway: true };
      }
    },
    close: () => agent.destroy(),
  };
}

interface Answer {
  readonly status: number;
  readonly body: string;
}

const refused = (reason: string): ConsulVerdict => ({ refused: reason, isConsulAway: false });

/** 403 is Consul's no; all else says nothing about the token. */
function judge({ status }: Answer, no: string): ConsulVerdict {
  if (status === 403) return refused(no);
  return { refused: `Consul answered ${status} when asked about the ACL token`, isConsulAway: true };
}

function readOwner(body: string): { readonly accessor: string; readonly createdAtMs: number } | undefined {
  let token: { readonly AccessorID?: unknown; readonly CreateTime?: unknown } | null;
  try {
    token = JSON.parse(body) as typeof token;
  } catch {
    return undefined;
  }
  const { AccessorID: accessor, CreateTime: created } = token ?? {};
  if (typeof accessor !== "string" || !/^[0-9a-fA-F-]{1,64}$/.test(accessor)) return undefined;
  const createdAtMs = Date.parse(String(created));
  // Without a time it counts as older than any eviction.
  return { accessor, createdAtMs: Number.isNaN(createdAtMs) ? 0 : createdAtMs };
}

function exchange(request: http.ClientRequest, body: string, clock: Clock): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const fail = (error: Error): void => {
      timer.cancel();
      reject(error);
      request.destroy();
    };
    const timer = clock.timer(timeoutMs, () => fail(new Error(`no answer within ${timeoutMs} ms`)));
    request.on("error", fail);
    request.on("response", (response) => {
      let text = "";
      response.setEncoding("utf8");
      response.on("error", fail);
      response.on("data", (chunk: string) => {
        text += chunk;
        if (text.length > maxBodyBytes) fail(new Error("answer too long"));
      });
      response.on("end", () => {
        timer.cancel();
        resolve({ status: response.statusCode ?? 0, body: text });
      });
    });
    request.end(body);
  });
}

function readCaFile(file: string): Buffer {
  try {
    return readFileSync(file);
  } catch (error: unknown) {
    throw new ConfigError(`cannot read Consul's CA file ${file}: check the path and its permissions`, {
      cause: error,
    });
  }
}
