/** A gateway in front of a real Consul agent that misbehaves on command. */
import { once } from "node:events";
import http from "node:http";
import type { AddressInfo } from "node:net";

/** What the front does to a request instead of, or with, the agent's answer. */
export type Fault =
  | { readonly kind: "none" }
  | { readonly kind: "status"; readonly status: number; readonly body: string }
  /** 200 with an empty list or map. */
  | { readonly kind: "empty" }
  /** The agent's own answer with another X-Consul-Index; undefined = without one. */
  | { readonly kind: "index"; readonly index: string | undefined }
  /** Half of the agent's answer, then a reset. */
  | { readonly kind: "cut" };

export interface ConsulFront {
  readonly url: string;
  /** Requests so far whose path and query match. */
  requests(where?: RegExp): number;
  /** Applies to every request whose path matches, those that wait already included: they are ended. */
  misbehave(fault: Fault, path?: RegExp): void;
  close(): Promise<void>;
}

export async function startConsulFront(agentUrl: string): Promise<ConsulFront> {
  let fault: Fault = { kind: "none" };
  let path = /./;
  const requested: string[] = [];
  /** Long polls under way: a new fault answers them too, as a gateway that changes its mind would. */
  const waiting = new Set<() => void>();

  const server = http.createServer((request, response) => {
    requested.push(request.url ?? "");
    const now = path.test(request.url ?? "") ? fault : ({ kind: "none" } as const);
    const isListing = request.url?.includes("/catalog/services") === true;
    if (now.kind === "status") return void response.writeHead(now.status).end(now.body);
    if (now.kind === "empty")
      return void response.writeHead(200, { "X-Consul-Index": "1000" }).end(isListing ? "{}" : "[]");
    const upstream = http.request(new URL(request.url ?? "/", agentUrl), {
      method: request.method ?? "GET",
      headers: { ...request.headers, connection: "close" },
      agent: false,
    });
    const interrupt = (): void => void (upstream.destroy(), response.destroy());
    waiting.add(interrupt);
    response.on("close", () => (waiting.delete(interrupt), upstream.destroy()));
    upstream.on("error", () => response.destroy());
    upstream.on("response", (answer) => {
      const headers = { ...answer.headers };
      if (now.kind === "index") {
        delete headers["x-consul-index"];
        if (now.index !== undefined) headers["x-consul-index"] = now.index;
      }
      delete headers["transfer-encoding"];
      const chunks: Buffer[] = [];
      answer.on("error", () => response.destroy());
      answer.on("data", (chunk: Buffer) => chunks.push(chunk));
      answer.on("end", () => {
        const body = Buffer.concat(chunks);
        response.writeHead(answer.statusCode ?? 502, { ...headers, "content-length": body.length });
        if (now.kind !== "cut") return void response.end(body);
        response.write(body.subarray(0, Math.ceil(body.length / 2)), () =>
          response.socket?.resetAndDestroy(),
        );
      });
    });
    request.pipe(upstream);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests: (where = /./) => requested.filter((url) => where.test(url)).length,
    misbehave: (next, where = /./) => {
      fault = next;
      path = where;
      for (const interrupt of [...waiting]) interrupt();
    },
    close: async () => {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
}
